"""A run's output directories: no run writes over another, none is disturbed by a second one."""

import contextlib
import shutil
from pathlib import Path

import filelock

from snapshots import CONFIG_NAME, LATEST_DIR, holds, is_tf2_checkpoint, list_snapshots, snapshot_step

RUN_FILES = ("vector-*", "checkpoint", CONFIG_NAME, LATEST_DIR, "original", "metrics.csv*", "loss.png", "events.out.*")


def lock_output_dirs(snapshot_root: Path, log_root: Path, resume: bool, overwrite: bool) -> contextlib.ExitStack:
    """Make sure that no other run is overwritten or disturbed -> the locks that hold both directories.

    Raises ValueError naming what is there and the ways out.
    """
    with contextlib.ExitStack() as locks:
        for root, flag in {log_root: "log_root", snapshot_root: "snapshot_root"}.items():  # which may be the same
            root.mkdir(parents=True, exist_ok=True)
            try:
                locks.enter_context(filelock.FileLock(root / ".lock", timeout=0))
            except filelock.Timeout:
                raise ValueError(f"another training runs in {root}; stop it or give another --{flag}") from None
        newest = next(iter(list_snapshots(snapshot_root)), None)
        if resume:
            _check_can_resume(newest, snapshot_root)
            return locks.pop_all()
        if not overwrite and newest is not None:
            raise ValueError(
                f"{snapshot_root} holds a run up to step {snapshot_step(newest)}; go on with it by "
                "--resume_training, or move it aside and begin anew by --overwrite"
            )
        metrics = log_root / "metrics.csv"
        if not overwrite and metrics.is_file() and ",valid," in metrics.read_text():  # else a run killed early
            raise ValueError(
                f"{log_root} holds the log of another run; give another --log_root, or move it aside by --overwrite"
            )
        for root in (snapshot_root, log_root):
            archive_previous_run(root)
        return locks.pop_all()


def _check_can_resume(newest: Path | None, root: Path) -> None:
    if newest is None:
        raise FileNotFoundError(f"nothing to resume: no snapshot in {root}; leave out --resume_training")
    if not is_tf2_checkpoint(newest):
        _copy_original(root)
    elif not holds(newest, "next_step/"):
        raise ValueError(f"{root} holds weights alone, no run to resume; begin from them with --init_from {root}")


def _copy_original(root: Path) -> None:
    """Copy what the original program wrote: this run's snapshots will push it out of ``root``."""
    copy = root / "original"
    if not copy.exists():
        part = root / "original.part"  # of which a killed run may have left some
        part.mkdir(exist_ok=True)
        for path in root.iterdir():
            if path.is_file() and path.name != ".lock":
                shutil.copy2(path, part)
        part.rename(copy)


def archive_previous_run(root: Path) -> None:
    """Move a run's own files, and nothing else, to a directory beside ``root``."""
    files = [path for pattern in RUN_FILES for path in root.glob(pattern)]
    if not files:
        return
    number = 1
    while (archive := root.with_name(f"{root.name}-old-{number}")).exists():
        number += 1
    archive.mkdir()
    for path in files:
        path.rename(archive / path.name)
    print(f"moved the previous run to {archive}")

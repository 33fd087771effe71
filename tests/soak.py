"""What takes longer than a test may: kills, fuzzing, extreme numbers. Prints the table of docs/reliability.md.

    make soak                                # or: python tests/soak.py [--quick] [--seed 1]

Exit code 1 if anything did not hold; the reason goes to standard error.
"""

import argparse
import os
import pickle
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import numpy as np  # noqa: E402
import test_safe_npz as reading  # noqa: E402
from hypothesis import HealthCheck, Phase, given, seed, settings  # noqa: E402

import safe_npz  # noqa: E402
import utils  # noqa: E402

FULL = {"kills": 25, "mid_write": 8, "fuzz": 20_000, "steps": 1000, "losses": 3}
QUICK = {"kills": 6, "mid_write": 2, "fuzz": 2_000, "steps": 100, "losses": 1}
HANG = 10.0  # seconds that a refusal may take


# ---------------------------------------------------------------------------------------------------------
# Kills


def temporary_files(root: Path) -> list[str]:
    """What lies about while TensorFlow writes a snapshot, and only then."""
    return [str(path) for path in root.rglob("*") if "_temp" in str(path.relative_to(root)) and path.is_file()]


def kill_in_mid_write(process: subprocess.Popen, root: Path, patience: float = 60.0) -> bool:
    """Freeze the training when a snapshot is being written; if it then lies there half written, kill it."""
    end = time.time() + patience
    while process.poll() is None and time.time() < end:
        if temporary_files(root):
            process.send_signal(signal.SIGSTOP)
            time.sleep(0.02)  # until all its threads stand still
            if temporary_files(root):
                process.kill()
                process.wait()
                return bool(temporary_files(root))
            process.send_signal(signal.SIGCONT)
    return False


def kill_at_random(process: subprocess.Popen, root: Path, started: float, rng: random.Random) -> bool:
    """Kill within three seconds: half the times of its start, half of the time when it writes all the while."""
    if rng.random() < 0.5:
        before = {path: path.stat().st_mtime for path in root.rglob("checkpoint")}
        while process.poll() is None and time.time() < started + 120:
            if any(path.stat().st_mtime != before.get(path) for path in root.rglob("checkpoint")):
                break
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 3))
    else:
        time.sleep(rng.uniform(0, 12))
    if process.poll() is not None:
        return False
    process.kill()
    process.wait()
    return True


def soak_kills(directory: Path, wanted: dict, rng: random.Random) -> list[tuple]:
    import test_trust as trust
    from miniatures import make_toy_data

    from model import find_snapshot

    data_dir = make_toy_data(directory / "data", lengths=(4, 5))
    hparams = trust.TINY | {"num_steps": 400, "save_every": 10, "augment_stroke_prob": 0, "keep_snapshots": 2}

    def start(run: Path) -> subprocess.Popen:
        resuming = ["--resume_training"] if any(run.rglob("vector-*.index")) else []
        command = [sys.executable, str(ROOT / "sketch_pix2seq_train.py")]
        command += trust.arguments(data_dir, run, *resuming, **({} if resuming else hparams | {"save_minutes": 1e-9}))
        log = open(run.with_suffix(".txt"), "a")  # noqa: SIM115 (the process holds it)
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)

    def assert_as_if_never_killed(run: Path) -> None:
        trust.assert_same(trust.newest_state(run), trust.newest_state(directory / "whole"))
        found, sure = (find_snapshot(directory / name / "snapshot") for name in (run.name, "whole"))
        assert found.name == sure.name, f"best snapshot {found}, without kills {sure}"
        trust.assert_same(trust.state(found), trust.state(sure))
        assert trust.metrics(run) == trust.metrics(directory / "whole"), f"{run}: another metrics.csv"

    trust.main(trust.arguments(data_dir, directory / "whole", **hparams | {"save_minutes": 1000}))
    kills, mid_write, runs = 0, 0, 0
    while kills < wanted["kills"] or mid_write < wanted["mid_write"]:
        runs += 1
        run = directory / f"killed-{runs}"
        run.mkdir()
        while True:
            process, started = start(run), time.time()
            in_need = kills < wanted["kills"] or mid_write < wanted["mid_write"]
            if in_need and mid_write < wanted["mid_write"] and (kills + runs) % 2:
                killed = kill_in_mid_write(process, run)
                mid_write += killed
            else:
                killed = in_need and kill_at_random(process, run, started, rng)
            kills += killed
            if not killed:
                code = process.wait(timeout=600)
                assert code == 0, f"{run}: exit code {code}\n" + run.with_suffix(".txt").read_text()[-2000:]
                if (run / "snapshot").exists() and trust.snapshot_step(
                    trust.list_snapshots(run / "snapshot")[0]
                ) == 399:
                    break
        assert_as_if_never_killed(run)
    return [
        ("SIGKILL at any time: goes on from a whole snapshot, ends bit for bit as if never killed", f"{kills} kills"),
        ("of these, proven to fall while a snapshot was partly written", f"{mid_write} kills"),
    ]


# ---------------------------------------------------------------------------------------------------------
# Untrusted files


def soak_files(directory: Path, wanted: dict, rng: random.Random) -> list[tuple]:
    """In a process of its own, whose memory is bounded: see ``main``."""
    trace, path, slowest, refused = directory / "trace", directory / "x.npz", 0.0, 0
    for make in reading.MALICIOUS.values():
        reading.refusal_of_pickle(directory, make(str(trace)))
    for body in [*reading.MISUSED.values(), *reading.BOMBS.values()]:
        start = time.time()
        reading.refusal_of_pickle(directory, body)
        slowest = max(slowest, time.time() - start)
    count, different = 0, set()

    @seed(rng.randrange(2**32))
    @settings(
        max_examples=wanted["fuzz"],
        deadline=1000 * HANG,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(reading.FUZZED)
    def fuzz(content):
        nonlocal count, refused
        path.write_bytes(content)
        refused += not reading.read_or_refuse(path)
        count += 1
        different.add(hash(content))

    fuzz()
    assert not os.path.lexists(trace), "a malicious file was run"
    misused = len(reading.MISUSED) + len(reading.BOMBS)
    return [
        ("malicious files refused, without a trace of what they would run", f"{len(reading.MALICIOUS)} files"),
        (f"misused names, damage and bombs refused within {HANG:.0f} s", f"{misused} files, {slowest:.1f} s at most"),
        (
            f"`load_strokes` fuzzed: drawings or a ValueError, none over {HANG:.0f} s, nothing run",
            f"{count:,} inputs, {len(different):,} different, {refused:,} refused",
        ),
        *large_files(path),
    ]


def large_files(path: Path) -> list[tuple]:
    """The largest file that is read, one over the limit, and what reaches the limit of opcodes."""
    drawings = np.random.default_rng(0).integers(-99, 99, (safe_npz.MAX_ITEMS, 30, 3), np.int8).astype(np.int16)
    drawings[:, :, 2] = 0
    array = np.empty(len(drawings), object)
    array[:] = [drawing.copy() for drawing in drawings]
    body, rows = reading.header((len(array),)) + pickle.dumps(array, protocol=2), []
    reading.write_npz(path, train=body)
    del drawings, array, body

    def timed(what, function):
        start = time.process_time()
        result = function()
        rows.append((what, f"{time.process_time() - start:.1f} s of one core"))
        return result

    strokes = timed(f"{safe_npz.MAX_ITEMS:,} drawings in one split: read", lambda: utils.load_strokes(path))
    assert len(strokes["train"]) == safe_npz.MAX_ITEMS
    del strokes
    reading.write_npz(path, train=reading.header((10**6,)) + b"(" * 10**6)
    timed("1,000,000 drawings in one split: refused", lambda: reading.refusal(path))
    for name, opcode in (("empty lists", b"]"), ("marks", b"(")):
        body = reading.header() + opcode * (safe_npz.MAX_OPCODES + 1)
        reading.write_npz(path, train=body)
        what = f"a pickle of {safe_npz.MAX_OPCODES:,} {name} in {path.stat().st_size // 1000:,} kB: refused"
        assert "pickle opcodes" in timed(what, lambda: reading.refusal(path))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return [*rows, ("memory that all of the files above took at most", f"{memory:.1f} GB")]


# ---------------------------------------------------------------------------------------------------------
# Extreme offsets


def soak_offsets(directory: Path, wanted: dict, rng: random.Random) -> list[tuple]:
    import test_trust as trust
    from miniatures import make_toy_data

    # Offsets of a millionth beside offsets at the clamp of 1000, over and over.
    data_dir = make_toy_data(directory / "data", sizes=(16,), change=lambda x: x**21 * 1000)
    hparams = trust.TINY | {"dec_model": "hyper", "num_steps": wanted["steps"], "save_every": wanted["steps"] // 2}
    assert trust.main(trust.arguments(data_dir, directory / "run", **hparams)) == 0
    end = trust.newest_state(directory / "run")
    assert end["next_step"] == wanted["steps"]
    assert all(np.isfinite(value).all() for value in end.values()), "a weight is not finite"
    costs = [float(row["cost"]) for row in trust.metrics(directory / "run")]
    assert costs and np.isfinite(costs).all()
    done = f"{wanted['steps']:,} steps, {int(end['skipped_updates'])} updates skipped"
    return [("`hyper` on drawings of extreme offsets: costs and weights stay finite", done)]


# ---------------------------------------------------------------------------------------------------------
# Two hosts


class TwoHosts(dict):
    """Two network namespaces, joined by a cable (a veth pair): name -> address of a worker there. Needs root."""

    def __init__(self):
        names = [f"sketch-{name}-{os.getpid()}" for name in ("first", "second")]
        super().__init__({name: f"10.88.0.{number}:12345" for number, name in enumerate(names, 1)})

    def __enter__(self):
        for name in self:
            ip("netns", "add", name)
        first, second = self
        ip("link", "add", "cable", "netns", first, "type", "veth", "peer", "name", "cable", "netns", second)
        for name, address in self.items():
            ip("-n", name, "addr", "add", f"{address.partition(':')[0]}/24", "dev", "cable")
            for link in ("lo", "cable"):
                ip("-n", name, "link", "set", link, "up")
        return self

    def __exit__(self, *exc):
        for name in self:
            ip("netns", "delete", name)

    def cable(self, state: str) -> None:
        """Plug it in ("up") or pull it out ("down"): nothing arrives any more, and nobody is told."""
        ip("-n", list(self)[1], "link", "set", "cable", state)


def ip(*arguments: str) -> None:
    """Debian's iproute2."""
    subprocess.run(["ip", *arguments], check=True)


def pull_for_three_seconds(hosts, pair):
    hosts.cable("down")
    time.sleep(3)
    hosts.cable("up")


LOSSES = {  # what happens -> how, and the exit codes of both workers; None: they go on
    "the second host's worker is killed": (lambda hosts, pair: pair.processes[1].kill(), (3, -9)),
    "the first host's worker, the chief, is killed": (lambda hosts, pair: pair.processes[0].kill(), (-9, 3)),
    "the network is cut": (lambda hosts, pair: hosts.cable("down"), (3, 3)),
    "the network is cut for 3 seconds": (pull_for_three_seconds, None),
}


class HostsRun(NamedTuple):
    """What all runs on two hosts have in common."""

    hosts: TwoHosts
    data_dir: Path
    hparams: dict

    def start(self, run: Path, *flags, **hparams):
        """A worker on each host, whose chief writes to ``run``."""
        import test_distribute as workers

        run.mkdir(exist_ok=True)
        return workers.Pair(self.data_dir, run, *flags, hosts=self.hosts, **hparams)

    def finish(self, run: Path, *flags, **hparams) -> float:
        """Start and let it end -> seconds to the first line of the log."""
        began, pair = time.time(), self.start(run, *flags, **hparams)
        while "\nstep: " not in pair.said(0) and not pair.ended():
            time.sleep(0.05)
        seconds = time.time() - began
        assert [pair.wait(index, 1200) for index in range(2)] == [0, 0], pair.said(0) + pair.said(1)
        pair.close()
        assert not (run / "nowhere").exists()
        return seconds

    def lose(self, run: Path, action, codes, step: int) -> str:
        """Do ``action`` once the log tells of a step, and resume -> what it cost."""
        import miniatures
        import test_distribute as workers

        pair = self.start(run, **self.hparams)
        while f"step: {step}," not in pair.said(0):
            assert not pair.ended(), pair.said(0) + pair.said(1)
            time.sleep(0.05)
        action(self.hosts, pair)
        happened = time.time()
        found = tuple(pair.wait(index, 1200) for index in range(2))
        noticed = time.time() - happened
        assert found == (codes or (0, 0)), (found, pair.said(0), pair.said(1))
        for index in range(2):
            if found[index] == 3:
                workers.expect_one_line_of_loss(pair.said(index))
        pair.close()
        if codes is None:
            return "the run goes on"
        self.hosts.cable("up")
        lost = max(0.0, happened - miniatures.list_snapshots(run / "snapshot")[0].with_suffix(".index").stat().st_mtime)
        again = self.finish(run, "--resume_training")
        codes = " and ".join("killed" if code < 0 else f"exit code {code}" for code in codes)
        return f"{codes} after {noticed:.1f} s, {lost:.1f} s of training lost, {again:.0f} s to start again"


def soak_hosts(directory: Path, wanted: dict, rng: random.Random) -> list[tuple]:
    """Two workers on two hosts, one of which is lost at a random step; what that costs, and how the run ends."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        reason = "needs root, and iproute2 (apt-get install iproute2)"
        print(f"two hosts: skipped, {reason}", file=sys.stderr)
        return [("two workers on two hosts", f"skipped: {reason}")]
    import miniatures

    import render_svg2bitmap

    data_dir = directory / "data"
    data_dir.mkdir()
    (data_dir / "npz").symlink_to(ROOT / "datasets/npz")
    assert render_svg2bitmap.main([f"--data_base_dir={data_dir}"]) == 0
    names = ",".join(path.name for path in sorted((ROOT / "datasets/npz").glob("doodle_*.npz")))
    hparams = {"data_set": f"[{names}]", "dec_model": "lstm", "dec_rnn_size": 128, "num_steps": 401, "save_every": 200}
    hparams |= {"save_minutes": 0.1}
    rows = []
    with TwoHosts() as hosts:
        runs = HostsRun(hosts, data_dir, hparams)
        runs.finish(directory / "whole", **hparams)
        whole = miniatures.newest_state(directory / "whole")
        for what, (action, codes) in LOSSES.items():
            for _ in range(wanted["losses"]):
                run = directory / f"lost-{len(rows) + 1}"
                cost = runs.lose(run, action, codes, 20 * rng.randint(8, 16))  # there is a snapshot by then
                rows.append((f"two hosts: {what}; ends bit for bit as if it had not been", cost))
                miniatures.assert_same(miniatures.newest_state(run), whole)
    return rows


PARTS = {"kills": soak_kills, "files": soak_files, "offsets": soak_offsets, "hosts": soak_hosts}


def run_part(name: str, wanted: dict, seed: int) -> list[tuple]:
    """One part, in a directory of its own, that stays if it fails."""
    directory = Path(tempfile.mkdtemp(prefix=f"soak-{name}-"))
    rows = PARTS[name](directory, wanted, random.Random(seed))
    shutil.rmtree(directory)
    return rows


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="less of it, in three minutes")
    parser.add_argument("--seed", type=int, default=1, help="of kill times and fuzzed files")
    parser.add_argument("--part", choices=PARTS, help="only this one")
    args = parser.parse_args(argv)
    wanted = QUICK if args.quick else FULL
    if args.part:
        if args.part == "files" and sys.platform == "linux":
            resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
        for what, count in run_part(args.part, wanted, args.seed):
            print(f"| {what} | {count} |", flush=True)
        return 0
    print("| what was tried, and held | count |\n|---|---|", flush=True)
    failed = []
    for part in PARTS:  # each in a process of its own: limits and TensorFlow's state stay there
        command = [sys.executable, "-W", "ignore", __file__, "--part", part, "--seed", str(args.seed)]
        command += ["--quick"] * args.quick
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
        print("".join(line for line in done.stdout.splitlines(True) if line.startswith("| ")), end="", flush=True)
        failed += [part] * (done.returncode != 0)
    if failed:
        print(f"did not hold: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

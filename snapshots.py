"""Snapshots: ``vector-<step>.{index,data-...}``, ``checkpoint``, ``model_config.json``; ours or the original's.

A run writes those that validated best into ``<model_dir>`` and its newest state into ``<model_dir>/latest``. A model is
known here as its named weights alone: anything with a dict ``weights``.
"""

import json
import math
import re
from pathlib import Path

import tensorflow as tf

from hparams import HParams
from utils import write_file

CONFIG_NAME = "model_config.json"
LATEST_DIR = "latest"
OUR_PREFIX, OUR_SUFFIX = "model/weights/", "/.ATTRIBUTES/VARIABLE_VALUE"
ORIGINAL_PREFIX = "vector_rnn/"
READ_ERRORS = (tf.errors.OpError, ValueError, RuntimeError, IndexError)  # of damaged files; a cut one: IndexError


def first_line(error: Exception) -> str:
    """An error of TensorFlow's in one line, without its graph's names."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return re.sub(r"\{\{.*?\}\} | \[Op:\w+\]", "", line)


# ---------------------------------------------------------------------------------------------------------
# The configuration


def load_config(model_dir: str | Path) -> str:
    """The text of a snapshot directory's ``model_config.json``. Raises FileNotFoundError."""
    path = Path(model_dir) / CONFIG_NAME
    if not path.is_file():
        raise FileNotFoundError(f"{path} not found: no snapshot there; train one, or name another directory")
    return path.read_text()


def load_hparams(model_dir: str | Path) -> HParams:
    """The hyper-parameters of a snapshot directory. Raises FileNotFoundError, or ValueError naming the file."""
    try:
        return HParams.from_json(load_config(model_dir))
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{Path(model_dir) / CONFIG_NAME}: {error}") from None


def load_data_info(model_dir: str | Path) -> dict | None:
    """What a snapshot knows of its data (scale factors, line width); None for the original's. Raises ValueError."""
    info = json.loads(load_config(model_dir)).get("data_info")
    if info is None:
        return None
    for name in ("scale_factor", "line_width"):
        number = info.get(name) if isinstance(info, dict) else None
        if type(number) not in (int, float) or not 0 < number < math.inf:
            path = Path(model_dir) / CONFIG_NAME
            raise ValueError(f"{path}: {name} of data_info is {number!r:.50}; expected a number above 0")
    return info


def save_config(model_dir: str | Path, hps: HParams, data_info: dict) -> None:
    """Write ``model_config.json``: all hyper-parameters and what sampling needs to know of the data."""
    text = json.dumps({**hps.values(), "data_info": data_info}, indent=1)
    write_file(Path(model_dir) / CONFIG_NAME, (text + "\n").encode())


# ---------------------------------------------------------------------------------------------------------
# Which snapshots there are


def list_complete_checkpoints(directory: Path) -> list[Path]:
    """Snapshots that ``checkpoint`` lists, newest first, as paths without ending; only complete ones get there.

    The directory given counts, wherever ``checkpoint`` says that the files once were.
    """
    try:
        state = tf.train.get_checkpoint_state(str(directory)) if directory.is_dir() else None
    except READ_ERRORS:  # the file is damaged
        state = None
    names = [state.model_checkpoint_path, *reversed(state.all_model_checkpoint_paths)] if state else []
    paths = [directory / name.replace("\\", "/").rsplit("/", 1)[-1] for name in names]
    paths = [path for path in dict.fromkeys(paths) if re.fullmatch(r".{1,200}-\d{1,18}", path.name)]
    return [path for path in paths if path.with_name(path.name + ".index").is_file()]


def snapshot_step(path: str | Path) -> int:
    """The last step that a snapshot's weights have seen: ``vector-<step>``."""
    return int(Path(path).name.rpartition("-")[2])


def find_snapshot(model_dir: str | Path) -> Path | None:
    """The snapshot to draw with, as a path without ending: the best by validation, else the latest, or None."""
    model_dir = Path(model_dir)
    found = list_complete_checkpoints(model_dir) + list_complete_checkpoints(model_dir / LATEST_DIR)
    return next(iter(found), None)


def list_snapshots(model_dir: str | Path) -> list[Path]:
    """All snapshots to go on from, as paths without ending, newest first."""
    model_dir = Path(model_dir)
    found = list_complete_checkpoints(model_dir / LATEST_DIR) + list_complete_checkpoints(model_dir)
    return sorted(found, key=snapshot_step, reverse=True)


def holds(path: str | Path, prefix: str) -> bool:
    """Whether a snapshot holds anything whose name begins so; a damaged one, which restoring tells of, may."""
    try:
        return any(name.startswith(prefix) for name, _ in tf.train.list_variables(str(path)))
    except READ_ERRORS:
        return True


def is_tf2_checkpoint(path: str | Path) -> bool:
    """Whether a snapshot is one of this program's, not one of the original's (TensorFlow 1)."""
    return holds(path, OUR_PREFIX)


# ---------------------------------------------------------------------------------------------------------
# Weights


def load_snapshot(model, model_dir: str | Path) -> int:
    """Load a model's weights from a snapshot directory, ours or the original's -> its step.

    Raises FileNotFoundError without one, ValueError naming a variable that is missing, left over or misshapen.
    """
    path = find_snapshot(model_dir)
    if path is None:
        raise FileNotFoundError(f"no snapshot in {model_dir}; train one, or name another directory")
    return load_weights(model, path)


def load_weights(model, path: str | Path) -> int:
    """``load_snapshot`` for one snapshot, given by its path without ending."""
    try:
        reader = tf.train.load_checkpoint(str(path))
        shapes = reader.get_variable_to_shape_map()
    except READ_ERRORS as error:
        raise ValueError(f"{path} is no readable snapshot ({error})") from None
    keys, expected = _weight_keys(shapes), {name: v.shape.as_list() for name, v in model.weights.items()}
    wrong = [f"{name} is missing (expected {shape})" for name, shape in expected.items() if name not in keys]
    wrong += [f"{name} is left over (of shape {shapes[key]})" for name, key in keys.items() if name not in expected]
    wrong += [
        f"{name} has shape {shapes[key]} (expected {expected[name]})"
        for name, key in keys.items()
        if name in expected and list(shapes[key]) != expected[name]
    ]
    if wrong:
        raise ValueError(f"{path} does not fit its hyper-parameters: " + "; ".join(wrong))
    try:
        values = {name: reader.get_tensor(key) for name, key in keys.items()}
    except READ_ERRORS as error:
        raise ValueError(f"{path} is damaged ({error})") from None
    for name, value in values.items():  # only now: a damaged snapshot leaves the model as it was
        model.weights[name].assign(value)
    return snapshot_step(path)


def save_weights(model, model_dir: str | Path, step: int) -> Path:
    """Write the weights alone as the snapshot ``vector-<step>`` of a directory -> its path without ending."""
    path = Path(model_dir) / f"vector-{step}"
    tf.train.Checkpoint(model=model).write(str(path))
    _list_in_checkpoint([path])
    return path


def _list_in_checkpoint(paths: list[Path], **details) -> None:
    """Write the file ``checkpoint`` beside snapshots, oldest first, that it lists by their bare names."""
    names, directory = [path.name for path in paths], paths[0].parent
    # TensorFlow's own function for this warns that it is deprecated.
    state = tf.compat.v1.train.generate_checkpoint_state_proto(str(directory.resolve()), names[-1], names, **details)
    write_file(directory / "checkpoint", str(state).encode())


def _weight_keys(shapes) -> dict[str, str]:
    """Weight name -> key in the file, leaving out what is no weight."""
    if any(key.startswith(OUR_PREFIX) for key in shapes):
        return {
            key[len(OUR_PREFIX) : -len(OUR_SUFFIX)].replace(".S", "/"): key
            for key in shapes
            if key.startswith(OUR_PREFIX) and key.endswith(OUR_SUFFIX)
        }
    scalars = ("global_step", "Variable", "beta1_power", "beta2_power")
    ignored = {f"{scope}{name}" for scope in ("", ORIGINAL_PREFIX, "vector_rnn_1/") for name in scalars}
    weights = [key for key in shapes if key not in ignored]
    slots = {f"{ORIGINAL_PREFIX}{key}/{slot}" for key in weights for slot in ("Adam", "Adam_1")}
    return {
        key.removeprefix(ORIGINAL_PREFIX)
        if key.startswith(ORIGINAL_PREFIX)
        else f"{key} outside {ORIGINAL_PREFIX}": key
        for key in weights
        if key not in slots
    }


# ---------------------------------------------------------------------------------------------------------
# A run's snapshots


class Snapshots:
    """The snapshots of a run: the best by validation in ``root``, the newest state in ``root/latest``.

    ``checkpoint`` is all that a run must remember, with its ``model`` and ``next_step`` among it.
    """

    def __init__(self, checkpoint: tf.train.Checkpoint, root: str | Path, hps: HParams, data_info: dict):
        self.checkpoint, self.root, self.managers = checkpoint, Path(root), {}
        for kind, directory in (("best", self.root), ("latest", self.root / LATEST_DIR)):
            save_config(directory, hps, data_info)
            _keep_to_directory(directory)
            self.managers[kind] = tf.train.CheckpointManager(
                checkpoint, str(directory), max_to_keep=hps.keep_snapshots, checkpoint_name="vector"
            )

    @property
    def newest(self) -> Path | None:
        """The snapshot from which the run goes on."""
        return next(iter(list_snapshots(self.root)), None)

    def save(self, kind: str) -> Path:
        """Write ``vector-<last step done>``; a snapshot counts only once it is complete. Raises OSError."""
        step = max(int(self.checkpoint.next_step) - 1, 0)
        try:
            return Path(self.managers[kind].save(checkpoint_number=step))
        except (tf.errors.OpError, OSError) as error:
            raise OSError(
                f"no snapshot could be written in {self.managers[kind].directory} ({first_line(error)}); "
                + (f"the last good one is {self.newest}" if self.newest else "there is no earlier one")
                + "; make room there, then go on with --resume_training"
            ) from None

    def restore(self) -> Path | None:
        """Load the newest snapshot that is whole, or return None if there is none at all."""
        candidates = list_snapshots(self.root)
        for path in candidates:
            try:
                self._restore(path)
                return path
            except ValueError as error:
                print(f"passed over: {error}")
        if candidates:
            raise ValueError(f"none of the snapshots in {self.root} can be read")
        return None

    def _restore(self, path):
        """Load a snapshot of ours whole, or the original's weights and step. Raises ValueError if damaged."""
        step = load_weights(self.checkpoint.model, path)  # tells what does not fit, by name
        if not is_tf2_checkpoint(path):
            self.checkpoint.next_step.assign(step + 1)
            return
        try:
            status = self.checkpoint.restore(str(path)).assert_existing_objects_matched()
            status.expect_partial()  # an earlier version counted roll-backs, too: no reason for a warning
        except (*READ_ERRORS, AssertionError) as error:
            raise ValueError(f"{path} is damaged ({first_line(error)})") from None


def _keep_to_directory(directory: Path) -> None:
    """Rewrite ``checkpoint`` with what is there: a manager deletes old snapshots wherever a foreign one names them."""
    paths = list_complete_checkpoints(directory)[::-1]
    if paths:
        stamps = [path.with_name(path.name + ".index").stat().st_mtime for path in paths]
        _list_in_checkpoint(paths, all_model_checkpoint_timestamps=stamps, last_preserved_timestamp=0.0)
    else:
        (directory / "checkpoint").unlink(missing_ok=True)  # damaged, or of files that are gone

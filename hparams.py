"""Hyper-parameters: typed fields, their choices, and reading them from text and JSON. No TensorFlow here.

The place to edit is ``get_default_hparams()`` in model.py; what it does not name is as in ``HParams`` below.
"""

import collections
import dataclasses
import difflib
import json
import math
from typing import get_args, get_origin

CELL_NAMES = ("lstm", "layer_norm", "hyper")
CHOICES = {
    "dec_model": CELL_NAMES,
    "enc_model": ("cnn", "deep_cnn", *CELL_NAMES),
    "unroll": ("auto", "packed", "padded"),
    "precision": ("float32", "mixed_bfloat16"),
    "bitmaps": ("stored", "on_demand"),
}
ALIASES = {  # the spelling in older configurations, which are read for ever
    "pen_position": "use_position",
    "pen_noise": "position_noise_std",
    "pen_glimpse": "position_features",
}
# What gives the weights their shapes or their meaning: a run cannot go on with another value.
ARCHITECTURE_FIELDS = (
    "conditional enc_model enc_filters enc_rnn_size dec_model dec_rnn_size use_position position_features "
    "pixel_features ink_reach pixel_landings drawing_extent z_size num_mixture img_H img_W"
).split()
# What validation measures, and on what: losses before and after a change of one do not compare.
VALIDATION_FIELDS = "data_set max_seq_len valid_drawings skip_padding kl_weight kl_tolerance".split()

INTERVALS = {  # sizes end at 16,384, as a downloaded config may ask for any amount of memory
    "[1, 16384]": "img_H img_W max_seq_len enc_filters enc_rnn_size dec_rnn_size z_size num_mixture",
    "[0, 16384]": "position_features pixel_features drawing_extent",
    "[0, 8]": "ink_reach pixel_landings",
    "[1, inf)": "num_steps save_every keep_snapshots batch_size",
    "(0, inf)": "save_minutes learning_rate grad_clip",
    "[0, inf)": "min_learning_rate random_rotation position_noise_std kl_weight kl_tolerance",
    "[0, 1]": "decay_rate augment_stroke_prob mirror_prob bitmap_noise pixel_features_dropout astray_prob "
    "kl_weight_start kl_decay_rate",
    "(0, 1]": "recurrent_dropout_prob input_dropout_prob output_dropout_prob",  # to keep
    "[0, 1)": "random_scale_factor",
    "[0, 2147483647]": "seed valid_drawings",
}


@dataclasses.dataclass(frozen=True)
class HParams:
    """All hyper-parameters. A key that is unknown or a value of the wrong type raises ValueError."""

    data_set: list[str]  # names of .npz files in <data_dir>/npz/, one per category
    num_steps: int = 10_000_000  # optimiser steps in all, resumed or not
    save_every: int = 2000  # steps between validations; a better one is saved
    save_minutes: float = 5.0  # minutes between snapshots of the latest state
    keep_snapshots: int = 2  # how many of the best and of the latest are kept
    img_H: int = 48  # height of the bitmaps, pixels
    img_W: int = 48  # width of the bitmaps, pixels
    bitmaps: str = "stored"  # stored: in files that render_svg2bitmap.py writes; on_demand: rasterised batch by batch
    valid_drawings: int = 0  # to validate and test with at most, a fixed sample of all; 0: all
    max_seq_len: int = 250  # longer drawings are skipped; then replaced by the data's longest
    enc_model: str = "cnn"  # cnn: the paper's; deep_cnn: normalised, deeper; lstm, layer_norm, hyper: sketch-rnn's
    enc_filters: list[int] = dataclasses.field(default_factory=lambda: [16, 32, 64, 64])  # deep_cnn's, one per level
    enc_rnn_size: int = 256  # units of each direction of sketch-rnn's encoder, which reads strokes
    presig_bias: float = 0.0  # initial presig: sigma of z starts at exp(presig_bias / 2)
    dec_rnn_size: int = 512  # units of the decoder
    dec_model: str = "hyper"  # lstm, layer_norm or hyper
    use_position: bool = False  # the decoder also sees where on the page its pen is (not the paper's)
    position_noise_std: float = 0.0  # in training, noise on the positions fed, with use_position (not the paper's)
    position_features: int = 0  # features that z gives of the pen's position, with use_position (not the paper's)
    pixel_features: int = 0  # features of the bitmap at the pen, with drawing_extent (not the paper's)
    ink_reach: int = 0  # cells beside the pen's line whose ink counts as drawn, in pixel_features
    pixel_landings: int = 0  # learned maps of where lines begin, whose ink left is located, in pixel_features
    pixel_features_dropout: float = 0.0  # share of a batch's drawings that z alone must tell of, in training
    drawing_extent: float = 0.0  # units of each drawing's longer side; 0: left to the scale factor, as in the original
    z_size: int = 128  # latent dimension
    batch_size: int = 100  # drawings per step, of all GPUs and machines together; 50 to 200 work
    skip_padding: bool = True  # compute no step after a drawing's end; False: all padded, as in the original
    unroll: str = "auto"  # the recurrent loop. packed: for a CPU; padded: compiled, for a GPU; auto: as the device is
    precision: str = "float32"  # of the matrix products of the decoder's cell; mixed_bfloat16: for a GPU
    grad_clip: float = 1.0  # gradients are clipped to +- this, number by number
    num_mixture: int = 20  # Gaussians in the mixture
    learning_rate: float = 0.001  # at the first step; 0.0005 to 0.002 work
    decay_rate: float = 0.9999  # multiplicative decay of the learning rate per step
    min_learning_rate: float = 0.00001  # where the decay ends
    use_recurrent_dropout: bool = True  # on the candidate of the decoder's cell
    recurrent_dropout_prob: float = 0.90  # probability to KEEP
    use_input_dropout: bool = False  # on (stroke, z)
    input_dropout_prob: float = 0.90  # probability to KEEP
    use_output_dropout: bool = False  # on h, on its way to the mixture
    output_dropout_prob: float = 0.90  # probability to KEEP
    random_scale_factor: float = 0.15  # axes are stretched by 1 +- this in training
    augment_stroke_prob: float = 0.10  # probability to drop a point in training
    augment_bitmaps: bool = False  # rasterise the strokes as augmented (not the paper's)
    bitmap_noise: float = 0.0  # probability of each fault put into a bitmap (thick, faint ...), with augment_bitmaps
    random_rotation: float = 0.0  # degrees that drawings are turned by at most, with augment_bitmaps
    mirror_prob: float = 0.0  # probability to mirror a drawing left to right, with augment_bitmaps
    astray_prob: float = 0.0  # share of a batch's drawings that go astray, astray.py (not the paper's)
    kl_weight: float = 0.0  # of sketch-rnn's KL term; 0: none, the paper's point; 0.5 to 1 there
    kl_weight_start: float = 0.01  # share of kl_weight at the first step
    kl_decay_rate: float = 0.99995  # multiplicative decay per step of what is missing from kl_weight
    kl_tolerance: float = 0.2  # a smaller KL term counts as this: it has no gradient
    conditional: bool = True  # False: a decoder alone, that draws what it likes
    seed: int = 1  # of everything random in training

    def __post_init__(self):
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, _typed(field.name, getattr(self, field.name), field.type))
        for interval, names in INTERVALS.items():
            for name in names.split():
                value = getattr(self, name)
                for number in value if isinstance(value, list) else [value]:
                    _require(_is_within(number, interval), name, value, _in_words(name, interval))
        for name, choices in CHOICES.items():
            _require(getattr(self, name) in choices, name, getattr(self, name), f"one of {', '.join(choices)}")
        _require(1 <= len(self.enc_filters) <= 16, "enc_filters", self.enc_filters, "1 to 16 levels")
        _require(self.data_set and all(self.data_set), "data_set", self.data_set, "one name or more")
        files = collections.Counter(name.removesuffix(".npz").replace(" ", "_") for name in self.data_set)
        same = [name for name in self.data_set if files[name.removesuffix(".npz").replace(" ", "_")] > 1]
        _require(not same, "data_set", same, "each category once")
        if self.position_features and not (self.use_position and self.conditional):
            raise ValueError("position_features needs use_position=True and conditional=True: z gives the features")
        if self.pixel_features and not (self.drawing_extent and self.use_position and self.conditional):
            raise ValueError("pixel_features needs drawing_extent, use_position=True and conditional=True")
        if self.pixel_features and (self.img_H != self.img_W or self.img_H % 16 or self.enc_model in CELL_NAMES):
            raise ValueError("pixel_features needs an encoder of square bitmaps, of 16, 32, 48 ... pixels")
        if (self.ink_reach or self.pixel_landings) and not self.pixel_features:
            raise ValueError("ink_reach and pixel_landings need pixel_features, whose bitmap they look at")
        if self.position_noise_std and not self.use_position:
            raise ValueError("position_noise_std needs use_position=True: a decoder must see where its pen is")
        if (self.random_rotation or self.mirror_prob or self.bitmap_noise) and not self.augment_bitmaps:
            raise ValueError("random_rotation, mirror_prob and bitmap_noise need augment_bitmaps=True")

    def parse(self, text: str) -> "HParams":
        """Changed by ``"key=value,list=[a,b]"``. Raises ValueError naming the nearest key, or the type expected."""
        changes = {}
        for item in _split_outside_brackets(text):
            key, equals, value = item.partition("=")
            if not equals:
                raise ValueError(f"hyper-parameter {item.strip()!r} is not of the form key=value")
            changes[key.strip()] = value.strip()
        return self.replace(**changes)

    def replace(self, **changes) -> "HParams":
        """Changed by keyword, under new names or old. Raises ValueError for what is unknown, mistyped or impossible."""
        known = [field.name for field in dataclasses.fields(self)]
        renamed = {}
        for key, value in changes.items():
            name = ALIASES.get(key, key)
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(known)}"
                raise ValueError(f"unknown hyper-parameter {key!r:.50}{hint}")
            if name in renamed:
                raise ValueError(f"hyper-parameter {name} is given twice: {key} is its old name")
            renamed[name] = value
        return dataclasses.replace(self, **renamed)

    def values(self) -> dict:
        """Name -> value, in order."""
        return dataclasses.asdict(self)

    def to_json(self) -> str:
        """As ``from_json`` reads it."""
        return json.dumps(self.values(), indent=1)

    @classmethod
    def from_json(cls, text: str) -> "HParams":
        """From a ``model_config.json``, ours or the original's (booleans may be 0/1, data_set a string)."""
        values = json.loads(text)
        if not isinstance(values, dict):
            raise ValueError("a model_config.json holds one object of hyper-parameters")
        values.setdefault("skip_padding", False)  # the original had no such choice
        for name in ("is_training", "data_info"):  # the original's own; ours, read by load_data_info
            values.pop(name, None)
        data_set = values.pop("data_set", None)
        if data_set is None:
            raise ValueError("no data_set in the model_config.json")
        return cls(data_set=data_set).replace(**values)


def _require(condition, name, actual, expected):
    if not condition:
        raise ValueError(f"hyper-parameter {name} is {actual!r:.200}; expected {expected}")


def _is_within(number, interval):
    least, most = (float(end) for end in interval[1:-1].split(","))
    above = number >= least if interval[0] == "[" else number > least
    return above and (number <= most if interval[-1] == "]" else number < most)


def _in_words(name, interval):
    least, most = interval[1:-1].split(", ")
    words = "above " * (interval[0] == "(") + least
    words += " or more" * (interval[0] == "[") if most == "inf" else ""
    words += "" if most == "inf" else " to " + "below " * (interval[-1] == ")") + most
    return words + ", the probability to keep" * name.endswith("_dropout_prob")


def _split_outside_brackets(text):
    items, depth = [""], 0
    for character in text:
        depth += {"[": 1, "]": -1}.get(character, 0)
        if character == "," and depth == 0:
            items.append("")
        else:
            items[-1] += character
    if depth != 0:
        raise ValueError(f"brackets do not match in {text!r}")
    return [item for item in items if item.strip()]


def _typed(name, value, kind):
    """``value``, perhaps text, as the type of its field."""
    if get_origin(kind) is list:
        if isinstance(value, str):
            value = [item.strip() for item in value.strip().removeprefix("[").removesuffix("]").split(",")]
        _require(isinstance(value, list | tuple), name, value, "a list: [a,b]")
        return [_typed(name, item, get_args(kind)[0]) for item in value]
    try:
        if kind is bool:
            return {"true": True, "false": False, "1": True, "0": False}[str(value).lower()]
        if kind is str:
            _require(isinstance(value, str), name, value, "a name")
            return value.strip("'\"")
        if isinstance(value, bool):
            raise TypeError
        number = kind(value)
        if number != float(value) or not math.isfinite(number):
            raise ValueError
        return number
    except (KeyError, TypeError, ValueError, OverflowError):
        expected = {bool: "True or False", int: "a whole number", float: "a number", str: "a name"}[kind]
        raise ValueError(f"hyper-parameter {name} is {value!r:.200}; expected {expected}") from None

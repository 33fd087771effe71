"""The judge of Rec: a small CNN that names the category of a bitmap.

It is trained on the training bitmaps of the data that a model is scored on. ``assets/classifier`` is one that ships, so
that Rec compares from machine to machine; ``<data_dir>/classifier`` gets those that are trained here. Each is a
directory with ``weights.npz`` (numbers alone) and ``classifier.json``: its recipe, data and categories.
"""

import hashlib
import io
import json
from pathlib import Path

import numpy as np
import tensorflow as tf

from hparams import HParams
from packed_store import npz_path, open_packed, write_file
from utils import category_name

SHIPPED = Path(__file__).resolve().parent / "assets" / "classifier"
RECIPE = {  # all that its weights depend on beside data and side; a change makes another classifier
    "filters": [16, 32, 64],  # each convolution 3 x 3, batch normalisation, ReLU, max-pooling
    "dense": 128,
    "dropout": 0.4,
    "translation": 0.06,  # of the bitmap's side, at random in training
    "momentum": 0.9,  # of the batch normalisation
    "optimizer": "adam",
    "batch_size": 64,
    "epochs": 30,
    "patience": 3,  # epochs without a better validation accuracy; the best weights are taken
    "seed": 1,
    "weights": "float16",  # as stored, and as used
}


def hash_recipe() -> str:
    """16 hexadecimal digits that change with the recipe."""
    return hashlib.sha256(json.dumps(RECIPE, sort_keys=True).encode()).hexdigest()[:16]


def hash_data(data_dir: str | Path, hps: HParams) -> str:
    """16 hexadecimal digits that change with the categories, in any order, and the strokes of any of their splits."""
    digest = hashlib.sha256()
    for name in sorted(hps.data_set, key=category_name):
        strokes = open_packed(npz_path(data_dir, name), hps.max_seq_len).digest
        digest.update(f"{category_name(name)} {strokes}\n".encode())
    return digest.hexdigest()[:16]


def build_classifier(height: int, width: int, categories: int) -> tf.keras.Model:
    """Bitmaps ``[N, H, W, 1]``, 0 (ink) to 255 -> probabilities ``[N, categories]``, with random weights."""
    layers = tf.keras.layers
    blocks = []
    for filters in RECIPE["filters"]:
        blocks += [
            layers.Conv2D(filters, 3, padding="same", use_bias=False),
            layers.BatchNormalization(momentum=RECIPE["momentum"]),
            layers.ReLU(),
            layers.MaxPooling2D(padding="same"),
        ]
    return tf.keras.Sequential(
        [
            layers.Input((height, width, 1)),
            layers.Rescaling(-1 / 255.0, 1.0),  # ink is 1, paper 0, as what is moved in
            layers.RandomTranslation(RECIPE["translation"], RECIPE["translation"], fill_mode="constant"),
            *blocks,
            layers.Flatten(),
            layers.Dropout(RECIPE["dropout"]),
            layers.Dense(RECIPE["dense"], activation="relu"),
            layers.Dropout(RECIPE["dropout"]),
            layers.Dense(categories, activation="softmax"),
        ]
    )


def train_classifier(train: tuple[np.ndarray, np.ndarray], valid: tuple, categories: int) -> tf.keras.Model:
    """A classifier of (bitmaps uint8 ``[N, H, W]``, labels ``[N]``), by the recipe."""
    tf.keras.utils.set_random_seed(RECIPE["seed"])
    classifier = build_classifier(*train[0].shape[1:], categories)
    classifier.compile(RECIPE["optimizer"], "sparse_categorical_crossentropy", metrics=["accuracy"])
    stop = tf.keras.callbacks.EarlyStopping(
        monitor="val_accuracy", patience=RECIPE["patience"], restore_best_weights=True
    )
    classifier.fit(
        train[0][..., None],
        train[1],
        batch_size=RECIPE["batch_size"],
        epochs=RECIPE["epochs"],
        validation_data=(valid[0][..., None], valid[1]),
        callbacks=[stop],
        verbose=2,
    )
    classifier.set_weights([weight.astype(RECIPE["weights"]) for weight in classifier.get_weights()])
    return classifier


def save_classifier(directory: Path, classifier: tf.keras.Model, about: dict) -> None:
    """Write weights and what they are of; the description last, so that one without weights is never found."""
    stored = io.BytesIO()
    np.savez_compressed(stored, *[weight.astype(RECIPE["weights"]) for weight in classifier.get_weights()])
    write_file(directory / "weights.npz", stored.getvalue())
    write_file(directory / "classifier.json", (json.dumps(about, indent=1) + "\n").encode())


def load_classifier(directory: str | Path, names: list[str], side: tuple[int, int]) -> tuple[tf.keras.Model, dict]:
    """The classifier in a directory, for categories and (height, width) -> (classifier, its description).

    Raises ValueError, naming what differs, if it is of another recipe, of other categories or of another size.
    """
    path = Path(directory, "classifier.json")
    try:
        about = json.loads(path.read_text())
        actual = {key: about[key] for key in ("recipe_hash", "categories", "side", "data")}
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ValueError(f"{directory} holds no classifier: {path.name} cannot be read ({error})") from None
    remedy = "leave --classifier out, and one is trained"
    if actual["recipe_hash"] != hash_recipe():
        raise ValueError(f"{directory}: its recipe is {actual['recipe_hash']}, not {hash_recipe()}; {remedy}")
    if sorted(actual["categories"]) != sorted(names):
        raise ValueError(f"{directory} names {_listed(actual['categories'])}, not {_listed(names)}; {remedy}")
    if actual["side"] != list(side):
        raise ValueError(f"{directory} judges bitmaps of {actual['side']}, not of {list(side)} pixels; {remedy}")
    classifier = build_classifier(*side, len(names))
    try:
        with np.load(Path(directory, "weights.npz"), allow_pickle=False) as stored:
            classifier.set_weights([stored[f"arr_{k}"] for k in range(len(classifier.weights))])
    except (OSError, ValueError, LookupError) as error:
        raise ValueError(f"{directory}: weights.npz cannot be read ({error})") from None
    return classifier, about


def find_classifier(directories: list[Path], names: list[str], side: tuple[int, int], data: str):
    """The first of some directories whose classifier is of this recipe, data and size -> as ``load_classifier``."""
    for directory in directories:
        if (directory / "classifier.json").is_file():
            try:
                classifier, about = load_classifier(directory, names, side)
            except ValueError:
                continue
            if about["data"] == data:
                return classifier, about
    return None


def is_correct(classifier: tf.keras.Model, about: dict, images: np.ndarray, names: np.ndarray) -> np.ndarray:
    """Whether the classifier names each bitmap, uint8 ``[N, H, W]``, as ``names [N]`` says -> bool ``[N]``."""
    probabilities = classifier.predict(images[..., None], batch_size=256, verbose=0)
    return np.array(about["categories"])[probabilities.argmax(axis=1)] == names


def _listed(names) -> str:
    names = [str(name)[:40] for name in names] if isinstance(names, list) else ["nothing"]
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")

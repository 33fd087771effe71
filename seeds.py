"""Seeds: every random number of the project comes from one of these. No TensorFlow here."""

import numpy as np

# What randomness is for; the order tells them apart, so new ones come last.
PURPOSES = ("weights", "batch", "train", "valid", "choose", "code", "sample", "bootstrap", "subset")


def seed_for(seed: int, purpose: str, step: int = 0, replica: int = 0, part: int = 0) -> tuple[int, ...]:
    """THE seed of every random number: five numbers, of which no two uses share all.

    ``purpose`` is one of ``PURPOSES``; ``step`` a training step, or what tells drawings apart; ``replica`` a worker or
    replica; ``part`` a microbatch or variation. As ``np.random.default_rng`` and ``stateless_seed`` take it. Raises
    ValueError.
    """
    if seed < 0:
        raise ValueError(f"seed {seed}: expected 0 or more")
    return (int(seed), PURPOSES.index(purpose), int(step), int(replica), int(part))


def stateless_seed(numbers: tuple[int, ...]) -> np.ndarray:
    """A seed as TensorFlow's stateless random operations take it: int32 ``[2]``."""
    return np.random.SeedSequence(numbers).generate_state(2).view(np.int32)

"""Learning curves: when accuracy is measured, and how a history keeps which answers are right."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Booleans = npt.NDArray[np.bool_]


def curve_steps(steps: int, points: int) -> list[int]:
    """Return the steps after which accuracy is measured: ends of equal parts of a training.

    Args:
        steps: Steps of the training.
        points: Number of parts; a training of fewer steps has a point a step.
    """
    return sorted({math.ceil(part * steps / points) for part in range(1, points + 1)})


def quarter_step(steps: int) -> int:
    """Return the step that the last quarter of a training comes after.

    It is one of ``curve_steps`` if the number of points is a multiple of 4.
    """
    return math.ceil(3 * steps / 4)


def pack_answers(correct: Sequence[bool] | Booleans) -> dict[str, Any]:
    """Return which of n answers are right as a JSON value.

    ``correct`` holds a bit an answer, the first one highest, in hexadecimal digits.
    """
    bits = np.asarray(correct, dtype=bool)
    return {
        "accuracy": float(bits.mean()),
        "correct": np.packbits(bits).tobytes().hex(),
        "n": len(bits),
    }


def unpack_answers(value: dict[str, Any]) -> Booleans:
    """Return what ``pack_answers`` was given, shape (n,).

    Raises:
        ValueError: If it holds another number of answers than it says.
    """
    packed = np.frombuffer(bytes.fromhex(value["correct"]), dtype=np.uint8)
    if len(packed) != math.ceil(value["n"] / 8):
        raise ValueError(f"{8 * len(packed)} bits are not those of {value['n']} answers")
    return np.unpackbits(packed, count=value["n"]).astype(bool)

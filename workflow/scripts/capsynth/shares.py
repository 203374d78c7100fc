"""Shares of images that training sets take, and how far two draws of one share overlap."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from capsynth.errors import CapsynthError
from capsynth.seeding import bucket
from capsynth.shards import ShardRecord, take_fraction

RESOLUTION = 1 << 30


class Share(NamedTuple):
    """Another draw of a share than the first.

    Attributes:
        fraction: Share of the images, above 0 and below 1.
        sample_seed: Number of the draw, above 0; the first one is a plain number.
    """

    fraction: float
    sample_seed: int

    def __str__(self) -> str:
        """Return the share as ``parse_share`` reads it."""
        return f"{self.fraction}:{self.sample_seed}"


def share_of(fraction: float, sample_seed: int) -> float | Share:
    """Return a draw of a share: a plain number for the first one, and for all images."""
    return fraction if sample_seed == 0 or fraction >= 1 else Share(fraction, sample_seed)


def parse_share(text: str) -> float | Share:
    """Return the share that ``0.25``, or ``0.25:1`` for the draw of sample seed 1, stands for.

    Raises:
        CapsynthError: If it is no such text.
    """
    fraction, _, seed = text.partition(":")
    try:
        return share_of(float(fraction), int(seed or 0))
    except ValueError:
        raise CapsynthError(
            f"{text!r} is no share; write 0.25, or 0.25:1 for the draw of sample seed 1"
        ) from None


def take_share(records: Sequence[ShardRecord], share: float | Share) -> list[ShardRecord]:
    """Return a fixed share of ``records``, chosen by their keys, of near that size.

    Each record has a place in [0, 1) that its key alone decides. As many draws as fit, ``1 //
    fraction``, are slices of it beside one another, so they have no image in common; the first is
    that of ``take_fraction``. For the next ones all records get other places.

    Args:
        records: Those of one shard.
        share: How many to take, and which draw of them.
    """
    if not isinstance(share, Share):
        return take_fraction(records, share)
    turn, part = _turn_and_part(*share)
    name = f"fraction-{turn}" if turn else "fraction"
    width = share.fraction * RESOLUTION
    low, high = part * width, (part + 1) * width
    return [r for r in records if low <= bucket(f"{name}/{r.key}", RESOLUTION) < high]


def mean_overlap(fraction: float, sample_seeds: Sequence[int]) -> float:
    """Return the share of its images that a draw has in common with another, over all pairs.

    Two draws of one turn have none in common, two of different turns ``fraction`` of them on
    average.

    Args:
        fraction: The share that is drawn.
        sample_seeds: Of two or more draws, each another one.
    """
    turns = [_turn_and_part(fraction, seed)[0] for seed in sample_seeds]
    pairs = list(itertools.combinations(turns, 2))
    return sum(fraction for one, other in pairs if one != other) / len(pairs)


def _turn_and_part(fraction: float, sample_seed: int) -> tuple[int, int]:
    """Return which places a draw is made by, and which slice of them it is."""
    # 1 / fraction of 1/49 is a little below 49.
    return divmod(sample_seed, max(1, int(1 / fraction + 1e-9)))

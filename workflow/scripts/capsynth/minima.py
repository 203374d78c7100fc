"""The worst and the best of several groups of samples, with intervals that allow for the choice.

The least of several estimates lies below the least of what they estimate, since the group that had
bad luck is taken: a bootstrap that takes it in each draw anew is biased twice. The intervals here
need no assumption on which group is the worst. With bounds of every group,

- the least lower bound is above the least accuracy only if the bound of the group that is truly
  the worst is: one bound, whatever the number of groups (Berger, Multiparameter Hypothesis Testing
  and Acceptance Sampling, Technometrics 24(4), 1982, the intersection-union test);
- the least upper bound is below it only if some group's upper bound is below that group's
  accuracy: Bonferroni's inequality over all groups.

They cover at least as often as they say, as far as the bounds of single groups do; the price is
width, docs/evaluation-sets.md has how much.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from capsynth import statistics
from capsynth.intervals import LEVEL
from capsynth.statistics import Floats, Integers

# Lower and upper bounds of all groups, shape (groups,), each wrong with the probability given.
Bounds = Callable[[float], tuple[Floats, Floats]]


@dataclass(frozen=True)
class Extreme:
    """A number with its interval.

    Attributes:
        value: The number.
        low: Lower bound of its interval.
        high: Upper bound.
        place: The group that it is of; of a gap the worst.
    """

    value: float
    low: float
    high: float
    place: int


def group_bounds(
    values: Floats, replicates: Floats, df_images: Integers, tail: float
) -> tuple[Floats, Floats]:
    """Return a lower and an upper bound of the accuracy on each group, each wrong in ``tail``.

    They are those of ``statistics.estimate``, or of Clopper and Pearson (Biometrika 26(4), 1934)
    where these are wider: the bootstrap of a few images is too narrow near 0 and 1, and where all
    answers are right it has no width at all.

    Args:
        values: Accuracy of every seed on every group, shape (seeds, groups).
        replicates: The same under shared draws of images, shape (seeds, draws, groups).
        df_images: Images of each group less one, shape (groups,).
        tail: Probability that a bound is wrong.

    Returns:
        Two arrays of shape (groups,).
    """
    found = statistics.estimate(values, replicates, df_images, 1.0 - 2.0 * tail)
    images = np.asarray(df_images) + 1
    return not_narrower(found.low, found.high, found.value, images, tail)


def not_narrower(
    low: Floats, high: Floats, accuracy: Floats, images: Integers, tail: float
) -> tuple[Floats, Floats]:
    """Return bounds that are nowhere inside those of Clopper and Pearson, nor outside of [0, 1].

    Args:
        low: Lower bounds, shape (groups,).
        high: Upper bounds.
        accuracy: What they are of.
        images: Of each group.
        tail: Probability that a bound is wrong.
    """
    from scipy import special  # slow to import, and each start of Snakemake may import this

    right = np.clip(accuracy, 0.0, 1.0) * images
    wrong = images - right
    least = special.betaincinv(np.maximum(right, 1e-12), wrong + 1.0, tail)
    most = special.betaincinv(right + 1.0, np.maximum(wrong, 1e-12), 1.0 - tail)
    least = np.where(right < 1e-9, 0.0, least)
    most = np.where(wrong < 1e-9, 1.0, most)
    return np.minimum(low, least).clip(0.0, 1.0), np.maximum(high, most).clip(0.0, 1.0)


def worst(mean: Floats, bounds: Bounds, level: float = LEVEL) -> Extreme:
    """Return the least of the groups' mean accuracies over seeds, with its interval.

    It is the minimum of means, not the mean of every seed's minimum: the second is the lower.

    Args:
        mean: Accuracy of every group over seeds, shape (groups,).
        bounds: Of the groups, such as ``group_bounds``.
        level: Of the interval.
    """
    tail = (1.0 - level) / 2.0
    low, _ = bounds(tail)
    _, high = bounds(tail / len(mean))
    place = int(mean.argmin())
    return Extreme(float(mean[place]), float(low.min()), float(high.min()), place)


def gap(mean: Floats, bounds: Bounds, level: float = LEVEL) -> Extreme:
    """Return the best less the worst of the groups' mean accuracies over seeds.

    Half of the error of each end of its interval is that of the best group, half that of the worst.
    The gap of estimates is above the true one; it is at least 0, and so is its interval.

    Args:
        mean: As for ``worst``, like the rest.
        bounds: As there.
        level: Of the interval.
    """
    tail = (1.0 - level) / 4.0
    low, high = bounds(tail)
    low_all, high_all = bounds(tail / len(mean))
    return Extreme(
        float(mean.max() - mean.min()),
        max(0.0, float(low_all.max() - high_all.min())),
        float(high.max() - low.min()),
        int(mean.argmin()),
    )


def least_by_chance(sizes: Sequence[int], share: float, seeds: int = 1) -> float:
    """Return the least accuracy of several groups that guesses are expected to show.

    Whoever guesses each answer by itself, right with the probability ``share``, has that accuracy
    on every group, but shows a lower least one: the expected minimum of independent binomial
    shares of ``seeds`` times so many answers each, the sum over its values v of the chance that no
    group is below v times the step to v.

    Args:
        sizes: Images of each group.
        share: Probability that a guess is right: one over the number of classes.
        seeds: Runs that guess; the least of the means over them is taken.

    Returns:
        The expectation; ``share`` itself for a single group.
    """
    from scipy import special  # slow to import, and each start of Snakemake may import this

    groups = Counter(seeds * size for size in sizes)
    # Of every number of answers: the chance of at least so many right ones, from 1 up.
    tails = {n: special.bdtrc(np.arange(n), n, share) for n in groups}
    steps = np.unique(
        np.concatenate([np.arange(1, n + 1)[tails[n] > 1e-15] / n for n in groups] or [[0.0]])
    )
    reached = np.ones_like(steps)
    for n, number in groups.items():
        least = np.clip(np.ceil(steps * n - 1e-9).astype(np.int64), 1, n)
        reached *= tails[n][least - 1] ** number
    return float((reached * np.diff(steps, prepend=0.0)).sum())

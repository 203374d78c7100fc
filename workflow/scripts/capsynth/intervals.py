"""Intervals and tests of means over images and training seeds.

A mean over S runs varies with the draw of images and with the training seeds. ``Spread`` holds
what one group of runs shows of both, ``moderated`` shares what groups show of their seeds, and
``Estimate`` makes the interval and its p value. ``docs/statistics.md`` has the derivation and the
measured coverage.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
Integers = npt.NDArray[np.integer]

LEVEL = 0.95
# A variance between seeds of less than this share of the pooled one is taken as this share: the
# logarithm of three equal values says too much (limma takes 1e-5 of the median).
LEAST_VARIANCE_RATIO = 1e-3
# How many of its standard errors are added to what is seen of how variances differ, and of more
# than two degrees of freedom how many for each: few seeds of few training sets cannot show that one
# is noisier than the others, and with more seeds there is less need to share. Chosen by simulation
# (docs/statistics.md).
LEAST_MARGIN = 0.5
MARGIN_OF_DF = 0.25
# A half width below the last decimal of CSV files is rounding, of probabilities in single precision
# or of sums in another order: nothing was seen to vary.
NO_WIDTH = 1e-6


T = TypeVar("T", "SeedVariance", "Spread", "Estimate")


def _take(of_metrics: T, columns: Sequence[int]) -> T:
    """Return a record of arrays of metrics, with some of the metrics."""
    found = {field.name: getattr(of_metrics, field.name) for field in fields(of_metrics)}
    arrays: dict[str, Any] = {
        name: x[list(columns)] for name, x in found.items() if isinstance(x, np.ndarray)
    }
    return replace(of_metrics, **arrays)


@dataclass(frozen=True, eq=False)
class SeedVariance:
    """Variance between runs that differ in their training seed; arrays of shape (metrics,).

    Attributes:
        variance: Of the values of single runs, what their images add to each included.
        df: Its degrees of freedom; 0 where there was one run.
    """

    variance: Floats
    df: Floats

    def take(self, columns: Sequence[int]) -> "SeedVariance":
        """Return the variances of some of the metrics."""
        return _take(self, columns)


@dataclass(frozen=True, eq=False)
class Spread:
    """What runs that differ in their seed show of a mean over them; arrays of shape (metrics,).

    Attributes:
        value: The mean.
        runs: How many there are.
        images: Variance of the mean from the draw of images, these runs as they are.
        own: Variance that the draw of images adds to every run beyond what all have in common.
        single: Variance of a single run from the draw of images.
        between: Variance of the values of the runs; 0 for a single one.
        df_images: Degrees of freedom of ``images``; infinite for a score interval.
    """

    value: Floats
    runs: int
    images: Floats
    own: Floats
    single: Floats
    between: Floats
    df_images: Floats

    def take(self, columns: Sequence[int]) -> "Spread":
        """Return the spread of some of the metrics."""
        return _take(self, columns)

    @property
    def seeds(self) -> SeedVariance:
        """The variance between these runs alone."""
        return SeedVariance(self.between, np.full(self.between.shape, float(self.runs - 1)))


def spread_of(values: Floats, replicates: Floats, df_images: Integers | int) -> Spread:
    """Return what bootstrap replicates show.

    Args:
        values: Of every run, shape (runs, metrics).
        replicates: The same under shared draws of images, shape (runs, draws, metrics).
        df_images: From ``statistics.image_df``, for all metrics or each.
    """
    runs = len(values)
    of_mean = replicates.mean(axis=0)
    images = of_mean.var(axis=0, ddof=1)
    own, between = np.zeros_like(images), np.zeros_like(images)
    if runs > 1:
        own = sum((one - of_mean).var(axis=0, ddof=1) for one in replicates) / (runs - 1)
        between = values.var(axis=0, ddof=1)
    single = np.mean([one.var(axis=0, ddof=1) for one in replicates], axis=0)
    df = np.broadcast_to(np.maximum(1.0, df_images), images.shape)
    return Spread(values.mean(axis=0), runs, images, own, single, between, df)


def squeezed(variances: Floats, df: Floats) -> tuple[Floats, Floats]:
    """Return variances drawn towards their mean as far as they agree, and degrees of freedom.

    The empirical Bayes estimate of Smyth, Linear Models and Empirical Bayes Methods for Assessing
    Differential Expression, Statistical Applications in Genetics 3(1), 2004: variances have a
    scaled inverse chi-squared prior whose degrees of freedom d0 follow from how far the logarithms
    of the variances seen vary beyond what d degrees of freedom explain (section 6.2), and the
    posterior is (d0 s0² + d s²) / (d0 + d) with d0 + d degrees of freedom, at most those of all.
    Unlike there, s0² is the mean of the variances and not that of their logarithms, which few
    seeds leave far too uncertain; where variances differ it is too large rather than too small.
    And d0 follows from more than the variance of the logarithms that is seen beyond chance: to it
    is added a margin of its standard errors, so that a few groups that look alike are not taken
    for alike. Were they, a noisy group would borrow the quiet ones' small variances as its own.

    Args:
        variances: Shape (groups, metrics).
        df: Of each group, at least 1, shape (groups,).

    Returns:
        Two arrays of shape (groups, metrics).
    """
    from scipy import special  # slow to import, and each start of Snakemake imports this module

    d = df[:, None]
    if len(variances) < 2:
        return variances, np.broadcast_to(d, variances.shape)
    pooled = (d * variances).sum(axis=0) / df.sum()
    least = np.where(pooled > 0.0, LEAST_VARIANCE_RATIO * pooled, 1.0)
    logs = np.log(np.maximum(variances, least)) - special.digamma(d / 2) + np.log(d / 2)
    by_chance = special.polygamma(1, df / 2).mean()
    excess = np.maximum(0.0, logs.var(axis=0, ddof=1) - by_chance) + _margin(df)
    prior = 2.0 * trigamma_inverse(excess)
    share = prior / (prior + d)
    return share * pooled + (1.0 - share) * variances, np.minimum(prior + d, df.sum())


def _margin(df: Floats) -> float:
    """Return what is added to the excess variance of logarithms of variances that are seen.

    The logarithm of a mean square with d degrees of freedom has variance trigamma(d / 2) and fourth
    cumulant its second derivative there; the variance of m such has the standard error
    (2 / (m - 1) + cumulant / variance² / m)^½ times the variance.
    """
    from scipy import special

    number = len(df)
    of_one = special.polygamma(1, df / 2).mean()
    kurtosis = special.polygamma(3, df / 2).mean() / of_one**2
    error = of_one * np.sqrt(2.0 / (number - 1) + kurtosis / number)
    return float(max(LEAST_MARGIN, MARGIN_OF_DF * df.mean()) * error)


def trigamma_inverse(values: Floats) -> Floats:
    """Return where the trigamma function has these values, above 0.

    Newton's iteration on the reciprocal, which is convex (Smyth 2004, appendix).
    """
    from scipy import special

    x = 0.5 + 1.0 / values
    for _ in range(50):
        trigamma = special.polygamma(1, x)
        x = x + trigamma * (1.0 - trigamma / values) / special.polygamma(2, x)
    found: Floats = x
    return found


def moderated(spreads: Sequence[Spread]) -> list[SeedVariance]:
    """Return the variance between seeds of every group of runs, shared among them.

    What is shared is the ratio of the variance between seeds to the variance that images add to a
    single run. Both fall towards accuracies of 0 and 1, so that training sets at 50 % and at
    99 % can share; the ratio has no unit, so that this holds for any metric. A single group with
    more than one run keeps its own variance.

    Args:
        spreads: Of one dataset, recipe and evaluation set, with the same metrics.
    """
    several = [i for i, spread in enumerate(spreads) if spread.runs > 1]
    found = [spread.seeds for spread in spreads]
    if len(several) < 2:
        return found
    single = np.stack([spreads[i].single for i in several])
    between = np.stack([spreads[i].between for i in several])
    is_shared = (single > 0.0).all(axis=0)
    ratios = between / np.where(is_shared, single, 1.0)
    df = np.array([spreads[i].runs - 1.0 for i in several])
    ratio, total = squeezed(ratios, df)
    for row, i in enumerate(several):
        found[i] = SeedVariance(
            np.where(is_shared, ratio[row] * single[row], between[row]),
            np.where(is_shared, total[row], df[row]),
        )
    return found


@dataclass(frozen=True, eq=False)
class Estimate:
    """Means with intervals; every array has shape (metrics,).

    The half width at a level is the root of the sum of t² times variance over the sources: of
    images (what all runs have in common) and of training seeds. Its coverage is at least the level
    at any level, whatever the shares (Banerjee, Expressions for the Lower Bound to Confidence
    Coefficients, Sankhya 21, 1960), so that p values hold far out in the tail, where a Holm
    correction looks. It is never below the half width from the images of the runs as they are.

    Attributes:
        value: The mean.
        images: Variance of the mean from images, the runs as they are.
        common: The part of it that is not from single runs.
        seeds: Variance of the mean from training seeds, with what images add to single runs; 0
            where there is one run.
        df_images: Degrees of freedom of the images; infinite for none lost.
        df_seeds: Degrees of freedom of the seeds.
        level: Of the interval.
    """

    value: Floats
    images: Floats
    common: Floats
    seeds: Floats
    df_images: Floats
    df_seeds: Floats
    level: float = LEVEL

    def take(self, columns: Sequence[int]) -> "Estimate":
        """Return the estimates of some of the metrics."""
        return _take(self, columns)

    def half_squared(self, tail: Floats | float) -> Floats:
        """Return squared half widths of intervals that leave ``tail`` out on each side."""
        t_images = t_quantile(self.df_images, tail) ** 2
        both = t_images * self.common
        has_seeds = self.seeds > 0.0
        if has_seeds.any():
            both = both + np.where(has_seeds, t_quantile(self.df_seeds, tail) ** 2, 0) * self.seeds
        return np.maximum(t_images * self.images, both)

    @cached_property
    def half(self) -> Floats:
        """Half the width of the interval, were it symmetric."""
        return np.sqrt(self.half_squared(0.5 - self.level / 2.0))

    @property
    def low(self) -> Floats:
        """Lower bound of the symmetric interval."""
        return self.value - self.half

    @property
    def high(self) -> Floats:
        """Upper bound of the symmetric interval."""
        return self.value + self.half

    @cached_property
    def p_value(self) -> Floats:
        """Two-sided p value of the mean being 0: below 1 - level just where 0 is outside.

        The level at which the symmetric interval ends at 0, by bisection. Not a number where
        nothing varies and the mean is not 0.
        """
        # The tail is exp(-x).
        low, high = np.full(self.value.shape, np.log(2.0)), np.full(self.value.shape, 300.0)
        squared = self.value**2
        for _ in range(60):
            middle = (low + high) / 2.0
            inside = self.half_squared(np.exp(-middle)) >= squared
            low, high = np.where(inside, low, middle), np.where(inside, middle, high)
        p = np.where(self.value == 0.0, 1.0, np.minimum(1.0, 2.0 * np.exp(-(low + high) / 2.0)))
        return np.where((self.half > 0.0) | (self.value == 0.0), p, np.nan)


def t_quantile(df: Floats, tail: Floats | float) -> Floats:
    """Return how far out a t distribution leaves ``tail``; the normal's for infinite ``df``."""
    from scipy import special

    # scipy.stats.t is made of the same functions, and takes most of a second to import.
    tail = np.broadcast_to(tail, df.shape)
    is_normal = df > 1e9
    found = -special.ndtri(tail)
    if not is_normal.all():
        of_t = -special.stdtrit(np.clip(df, 1.0, 1e9), tail)
        found = np.where(is_normal, found, of_t)
    return found


def estimate_of(
    spread: Spread, seeds: SeedVariance | None = None, level: float = LEVEL
) -> Estimate:
    """Return the mean of runs with its interval over images and, of several runs, seeds.

    With images and seeds crossed, the variance of the mean is that of the images' main effect plus
    that of the seeds over their number. The first is the variance of the mean less the part that
    every run has for itself, the second contains that part (Searle, Casella and McCulloch, Variance
    Components, 1992, chapter 4).

    Args:
        spread: What the runs show.
        seeds: Variance between the runs; by default that which they show alone.
        level: Of the interval.
    """
    seeds = seeds or spread.seeds
    if spread.runs == 1:
        nothing = np.zeros_like(spread.images)
        return Estimate(
            spread.value, spread.images, spread.images, nothing, spread.df_images,
            np.ones_like(nothing), level,
        )  # fmt: skip
    return Estimate(
        value=spread.value,
        images=spread.images,
        common=np.maximum(0.0, spread.images - spread.own / spread.runs),
        seeds=seeds.variance / spread.runs,
        df_images=spread.df_images,
        df_seeds=seeds.df,
        level=level,
    )


def difference_of(
    difference: Spread,
    sides: tuple[Spread, Spread],
    seeds: tuple[SeedVariance, SeedVariance],
    level: float = LEVEL,
) -> Estimate:
    """Return a mean difference of two groups of runs, paired by image.

    Images are paired: what both sides find hard cancels. Seeds are not: each side adds its own
    variance, and what a common seed would make alike is left in, since few seeds cannot show it.

    Args:
        difference: Of the runs with the same seed.
        sides: Of the two groups.
        seeds: Their variances between seeds.
        level: Of the interval.
    """
    if difference.runs == 1:
        return estimate_of(difference, level=level)
    own = sides[0].own + sides[1].own
    return Estimate(
        value=difference.value,
        images=difference.images,
        common=np.maximum(0.0, difference.images - own / difference.runs),
        seeds=(seeds[0].variance + seeds[1].variance) / difference.runs,
        df_images=difference.df_images,
        df_seeds=np.minimum(seeds[0].df, seeds[1].df),
        level=level,
    )

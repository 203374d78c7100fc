"""Shares of right answers: their variance from the draw of images, and score intervals.

A share is a mean of zeros and ones, so its variance over images needs no bootstrap: it is that of
a stratified sample of clusters (Cochran, Sampling Techniques, 1977, sections 5.3 and 9A.2). Where
all answers of a class are alike its variance is 0 by luck, so a class borrows one image's worth
from all classes. Intervals are Wilson's, with an effective number of images, and have a width and
stay in [0, 1] at the edges (Wilson, Probable Inference, JASA 22, 1927; Korn and Graubard,
Confidence Intervals for Proportions with Small Expected Number of Positive Counts, Survey
Methodology 24(2), 1998).
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from capsynth.intervals import LEVEL, Estimate, Spread, t_quantile
from capsynth.statistics import ImageDesign

Floats = npt.NDArray[np.floating]
Integers = npt.NDArray[np.integer]

# Images that a class borrows from all classes.
BORROWED = 1.0
# Differences of so many images are seen at least, as Bonett and Price add one a side (Adjusted Wald
# Confidence Interval for a Difference of Binomial Proportions Based on Paired Data, Journal of
# Educational and Behavioral Statistics 37(4), 2012).
LEAST_DIFFERENCES = 2.0


@dataclass(frozen=True, eq=False)
class Layout:
    """The units and strata of some samples, which stand unit after unit.

    Attributes:
        rows: The samples in that order, shape (n,).
        unit_starts: Where each unit begins, shape (units,).
        sizes: Samples of each unit, shape (units,).
        stratum: Number of the stratum of each unit, ascending, shape (units,).
        stratum_starts: Where the units of each stratum begin, shape (strata,).
    """

    rows: Integers
    unit_starts: Integers
    sizes: Integers
    stratum: Integers
    stratum_starts: Integers

    @property
    def n(self) -> int:
        """Number of samples."""
        return len(self.rows)

    @property
    def units(self) -> int:
        """Number of units."""
        return len(self.sizes)

    @property
    def df(self) -> float:
        """Degrees of freedom: infinite where each sample is a unit, as for a binomial share."""
        if self.units == self.n:
            return np.inf
        return float(max(1, self.units - len(self.stratum_starts)))


def layout_of(design: ImageDesign, rows: Integers) -> Layout:
    """Return the layout of some samples of a design."""
    unit = design.unit[rows]
    order = np.lexsort((unit, design.stratum[unit]))
    unit = unit[order]
    starts = np.flatnonzero(np.concatenate([[True], unit[1:] != unit[:-1]]))
    stratum = design.stratum[unit[starts]]
    _, stratum_starts, numbers = np.unique(stratum, return_index=True, return_inverse=True)
    sizes = np.diff(np.append(starts, len(rows)))
    return Layout(rows[order], starts, sizes, numbers, stratum_starts)


def variance_of_sums(layout: Layout, values: Floats, borrowed: float = BORROWED) -> Floats:
    """Return the variance of sums from the draw of units within strata: shape (sums,).

    Args:
        layout: Units and strata.
        values: In the order of ``layout.rows``, shape (sums, n).
        borrowed: Units of mean square over all strata that are added to those of each: the
            variance of a stratum of u units is (sum of squares + borrowed v) / (u - 1 + borrowed).
            0 is the usual variance; a stratum of one unit then has none.
    """
    totals = values
    if layout.units < layout.n:
        totals = np.add.reduceat(values, layout.unit_starts, axis=1)
    mean = totals.sum(axis=1, keepdims=True) / layout.n
    within = np.add.reduceat(totals, layout.stratum_starts, axis=1)
    samples = np.add.reduceat(layout.sizes, layout.stratum_starts)
    units = np.diff(np.append(layout.stratum_starts, layout.units))
    residuals = totals - np.take(within / samples, layout.stratum, axis=1) * layout.sizes
    squares = np.add.reduceat(residuals**2, layout.stratum_starts, axis=1)
    overall = ((totals - mean * layout.sizes) ** 2).mean(axis=1, keepdims=True)
    df = units - 1.0 + borrowed
    variances = np.divide(
        squares + borrowed * overall, df, out=np.zeros_like(squares), where=df > 0.0
    )
    sums: Floats = variances @ units
    return sums


def spread_of_shares(layout: Layout, values: Floats) -> Spread:
    """Return what runs show of shares.

    One image's worth of variance is added, as if one more photograph had been answered both ways:
    at an accuracy of 0 or 1 this makes the effective number of images that of the photographs.

    Args:
        layout: Units and strata.
        values: Zeros and ones, in the order of ``layout.rows``, shape (runs, metrics, n).
    """
    pseudo = layout.n / layout.units
    images = (variance_of_sums(layout, values.mean(axis=0)) + pseudo) / layout.n**2
    single = np.mean([variance_of_sums(layout, run) for run in values], axis=0) + pseudo
    return _spread(layout, values, images, single / layout.n**2, layout.df)


def spread_of_differences(layout: Layout, values: Floats) -> Spread:
    """Return what runs show of differences of two shares.

    Args:
        layout: Units and strata.
        values: Differences, -1, 0 or 1, shape (runs, metrics, n).
    """
    least = LEAST_DIFFERENCES * layout.n / layout.units
    images = np.maximum(least, variance_of_sums(layout, values.mean(axis=0))) / layout.n**2
    df = float(max(1, layout.units - len(layout.stratum_starts)))
    return _spread(layout, values, images, images, df)


def _spread(layout: Layout, values: Floats, images: Floats, single: Floats, df: float) -> Spread:
    runs = len(values)
    mean = values.mean(axis=0)
    of_runs = values.mean(axis=2)
    own, between = np.zeros_like(images), np.zeros_like(images)
    if runs > 1:
        of_deviations = [variance_of_sums(layout, run - mean, 0.0) for run in values]
        own = np.sum(of_deviations, axis=0) / (runs - 1) / layout.n**2
        between = of_runs.var(axis=0, ddof=1)
    df_images = np.full_like(images, df)
    return Spread(of_runs.mean(axis=0), runs, images, own, single, between, df_images)


def joined(spreads: list[Spread]) -> Spread:
    """Return spreads of the same runs as one, with the metrics of all."""
    names = ("value", "images", "own", "single", "between", "df_images")
    arrays: dict[str, Any] = {
        name: np.concatenate([getattr(one, name) for one in spreads]) for name in names
    }
    return replace(spreads[0], **arrays)


def score_interval(found: Estimate, n: Integers) -> tuple[Floats, Floats]:
    """Return Wilson's interval of shares: lower and upper bounds, shape (metrics,).

    The interval of all p with (share - p)² <= h p (1 - p), where h is the squared half width at the
    share over its p (1 - p): z² / n for independent answers.

    Args:
        found: From spreads of shares.
        n: Samples of each share.
    """
    share = np.clip(found.value, 0.0, 1.0)
    return _within(share, found.half**2 / (share * (1.0 - share) + 1.0 / n))


def wilson(share: Floats, n: Floats, level: float = LEVEL) -> tuple[Floats, Floats]:
    """Return Wilson's interval of shares of ``n`` independent answers: lower and upper bounds."""
    z = t_quantile(np.full(share.shape, np.inf), 0.5 - level / 2.0)
    return _within(share, z**2 / n)


def _within(share: Floats, h: Floats) -> tuple[Floats, Floats]:
    binomial = share * (1.0 - share)
    middle = (share + h / 2.0) / (1.0 + h)
    half = np.sqrt(h * binomial + h**2 / 4.0) / (1.0 + h)
    low, high = middle - half, middle + half
    return np.where(share == 0.0, 0.0, low), np.where(share == 1.0, 1.0, high)

"""The draw of images: bootstrap within classes, variance components, sign-flip test, Holm.

The design. Every run of an evaluation set answers the same images, so images and training seeds
are crossed. Images are drawn within their class, and images that share a source (the corrupted
versions of one photograph) are drawn together, as one unit. All runs see the same draw, so that
differences between training sets are paired. ``intervals`` puts the variance between seeds on top
of the variance of images; ``docs/statistics.md`` has the measured coverage.

Of ``n`` units of a class, ``n - 1`` are drawn with replacement: the variance of a mean over the
replicates is then s²/n, without the factor (n - 1)/n that halves the variance of two units
(McCarthy and Snowden, The Bootstrap and Finite Population Sampling, Vital and Health Statistics
2(95), 1985; Rao and Wu, Resampling Inference with Complex Survey Data, JASA 83, 1988). A single
unit or seed is kept as it is and adds no variance.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from capsynth.errors import CapsynthError
from capsynth.intervals import LEVEL, Estimate, estimate_of, spread_of

Floats = npt.NDArray[np.floating]
Integers = npt.NDArray[np.integer]

# 4 million weights of 8 bytes: 32 MB a block, whatever the size of the evaluation set.
WEIGHTS_PER_BLOCK = 4_000_000


@dataclass(frozen=True, eq=False)
class ImageDesign:
    """Which images are drawn together, and from which of them.

    Attributes:
        unit: Number of the unit that each sample belongs to, shape (n,).
        strata: The units of each stratum.
    """

    unit: Integers
    strata: tuple[Integers, ...]

    @cached_property
    def stratum(self) -> Integers:
        """Number of the stratum of each unit."""
        numbers = np.empty(sum(map(len, self.strata)), dtype=np.int64)
        for number, units in enumerate(self.strata):
            numbers[units] = number
        return numbers

    @cached_property
    def is_each_its_own(self) -> bool:
        """Whether each sample is a unit of its own."""
        return bool(np.array_equal(self.unit, np.arange(len(self.stratum))))


def image_design(strata: Sequence[str], sources: Sequence[str]) -> ImageDesign:
    """Return the design of ``n`` samples: units are the sources within each stratum.

    Args:
        strata: Class of each sample.
        sources: What the sample was made from; samples of one class and source stay together.
    """
    codes: dict[tuple[str, str], int] = {}
    unit = np.array(
        [codes.setdefault(pair, len(codes)) for pair in zip(strata, sources, strict=True)],
        dtype=np.int64,
    )
    members: dict[str, list[int]] = {}
    for (stratum, _), code in codes.items():
        members.setdefault(stratum, []).append(code)
    return ImageDesign(unit, tuple(np.array(units) for units in members.values()))


def image_weights(design: ImageDesign, draws: int, seed: int) -> Iterator[Floats]:
    """Yield bootstrap weights of the samples in blocks of shape (some draws, n).

    Args:
        design: Strata and units of the samples.
        draws: Number of replicates over all blocks.
        seed: Seed of the draws.

    Raises:
        CapsynthError: If ``draws`` is not positive.
    """
    if draws < 1:
        raise CapsynthError(f"{draws} bootstrap draws give no interval; ask for at least 100")
    rng = np.random.default_rng(seed)
    block = max(1, WEIGHTS_PER_BLOCK // max(1, len(design.unit)))
    sizes = [min(block, draws - start) for start in range(0, draws, block)]
    # Drawing costs about as much as what is done with the draws, and leaves other threads alone.
    with ThreadPoolExecutor(max_workers=1) as ahead:
        drawn = ahead.submit(_block_of_weights, design, sizes[0], rng)
        for size in sizes[1:]:
            weights = drawn.result()
            drawn = ahead.submit(_block_of_weights, design, size, rng)
            yield weights
        yield drawn.result()


def _block_of_weights(design: ImageDesign, draws: int, rng: np.random.Generator) -> Floats:
    of_units = np.empty((draws, len(design.stratum)))
    for stratum in design.strata:
        of_units[:, stratum] = _stratum_weights(len(stratum), draws, rng)
    return of_units if design.is_each_its_own else np.take(of_units, design.unit, axis=1)


def _stratum_weights(n: int, draws: int, rng: np.random.Generator) -> Floats:
    if n == 1:
        return np.ones((draws, 1))
    # Units by their number, counted: a fifth of the time that multinomial numbers take.
    chosen = rng.integers(n, size=(draws, n - 1), dtype=np.min_scalar_type(n - 1))
    places = chosen + n * np.arange(draws)[:, None]
    counts = np.bincount(places.ravel(), minlength=n * draws).reshape(draws, n)
    return counts * (n / (n - 1))


def image_df(design: ImageDesign, rows: Integers) -> int:
    """Return the degrees of freedom of the images' variance: units less strata.

    Args:
        design: Strata and units of the samples.
        rows: The samples that a metric is computed of.
    """
    units = np.unique(design.unit[rows])
    return len(units) - len(np.unique(design.stratum[units]))


def estimate(
    values: Floats, replicates: Floats, df_images: Integers | int, level: float = LEVEL
) -> Estimate:
    """Return means over training seeds with intervals that hold images and seeds.

    Args:
        values: Of every seed, shape (seeds, metrics). Where generation seeds vary as well, a row
            is one generation seed, averaged over its training seeds: they are nested in it.
        replicates: The same under shared draws of images, shape (seeds, draws, metrics).
        df_images: From ``image_df``, for all metrics or each: shape (metrics,).
        level: Of the intervals.

    Returns:
        A single seed gets an interval of the images alone.
    """
    return estimate_of(spread_of(values, replicates, df_images), level=level)


@dataclass(frozen=True, eq=False)
class VarianceComponents:
    """Where the variance of one run's metrics comes from; every array has shape (metrics,).

    Attributes:
        images: Variance from the draw of images that all runs have in common.
        runs_on_images: Variance from the draw of images that every run has for itself.
        training: Variance between training seeds of one generation seed.
        generation: Variance between generation seeds, or draws of the real sample, beyond that of
            their training seeds.
    """

    images: Floats
    runs_on_images: Floats
    training: Floats
    generation: Floats


def variance_components(
    values: Floats, replicates: Floats, overlap: float = 0.0
) -> VarianceComponents:
    """Return the variance components of runs that differ in their seeds only.

    The analysis of variance estimator of the balanced nested design, training seeds in generation
    seeds, cut off at 0 (Searle, Casella and McCulloch, Variance Components, 1992, section 3.6);
    what the images add to the means of runs and of generation seeds is taken off first.

    Args:
        values: Shape (generation seeds, training seeds, metrics).
        replicates: Under shared draws of images: (generation seeds, training seeds, draws,
            metrics).
        overlap: Where draws of one sample stand for generation seeds, the share of its images that
            a draw has in common with another. Their correlation is as large, so they vary by
            1 - ``overlap`` of what independent draws vary by.

    Raises:
        CapsynthError: If there is one generation or one training seed only.
    """
    generations, trainings = values.shape[:2]
    if min(generations, trainings) < 2:
        raise CapsynthError(
            f"{generations} generation and {trainings} training seeds do not show both variances; "
            "train each of two or more variants that differ in their seed with two or more seeds"
        )
    by_generation = replicates.mean(axis=1)
    overall = by_generation.mean(axis=0)
    noise = (replicates - by_generation[:, None]).var(axis=2, ddof=1).sum(axis=(0, 1)) / (
        generations * (trainings - 1)
    )
    noise_of_means = (by_generation - overall).var(axis=1, ddof=1).sum(axis=0) / (generations - 1)
    within = values.var(axis=1, ddof=1).mean(axis=0)
    training = np.maximum(0.0, within - noise)
    between = values.mean(axis=1).var(axis=0, ddof=1)
    return VarianceComponents(
        images=np.maximum(0.0, overall.var(axis=0, ddof=1) - noise_of_means / generations),
        runs_on_images=noise,
        training=training,
        generation=np.maximum(0.0, between - noise_of_means - training / trainings)
        / (1.0 - overlap),
    )


def overlap_factor(units: int, overlap: float) -> float:
    """Return what the variance between correlated units is multiplied by for that of their mean.

    Of ``k`` units of variance V, any two correlated by ``overlap``, the mean has the variance
    ``V (1 + (k - 1) overlap) / k``; the units are seen to vary by ``V (1 - overlap)``. For
    ``intervals.estimate_of``, which takes the variance between units over k for that of their mean.

    Args:
        units: How many there are, k.
        overlap: From ``shares.mean_overlap``.
    """
    return (1.0 + (units - 1) * overlap) / (1.0 - overlap)


def interval(replicates: Floats, level: float = LEVEL) -> tuple[Floats, Floats]:
    """Return the percentile interval of replicates (draws, metrics): two arrays (metrics,).

    Efron, Nonparametric Standard Errors and Confidence Intervals, Canadian Journal of Statistics
    9(2), 1981. For what has no seeds to average over. Where no sample is wrong the interval has no
    width: it says that nothing was seen to vary, not that nothing could.
    """
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(replicates, [tail, 1.0 - tail], axis=0)
    return low, high


def centred(replicates: Floats, estimate: Floats, least: float = 0.0) -> Floats:
    """Return replicates moved so that their mean is the estimate, and none is below ``least``.

    For metrics that are no means over samples, such as a calibration error: the noise that
    resampling adds raises them all, and would leave the estimate outside its own interval.
    """
    return np.maximum(replicates + (estimate - replicates.mean(axis=0)), least)


def sign_flip_p_value(differences: Sequence[int] | Integers) -> float:
    """Return the exact two-sided p value of a paired sign-flip test.

    Under the null hypothesis the two sides of a pair may be swapped, so the sign of every
    difference is a fair coin. The p value is the share of all sign patterns whose sum is at least
    as far from zero as the one seen; its distribution is built by convolution, without
    random draws (Pagano and Tritchler, On Obtaining Permutation Distributions in Polynomial Time,
    JASA 78, 1983). With right answers counted over a fixed set of training seeds it asks whether
    these trained models differ on new images; ``estimate`` asks it of new seeds as well. With the
    differences of whole seeds it is the permutation test of seeds, whose p value is at least
    2 / 2^seeds: a quarter for three seeds, so that it can never reject.

    Args:
        differences: Integer difference of every unit, such as right answers of one side minus
            right answers of the other, summed over seeds.
    """
    steps = np.abs(np.asarray(differences, dtype=np.int64))
    observed = abs(int(np.sum(differences)))
    steps = np.sort(steps[steps > 0])
    total = int(steps.sum())
    # Entry s + total is the probability of the sum s; small steps first keep the filled part short.
    chance = np.zeros(2 * total + 1)
    chance[total] = 1.0
    reach = 0
    for step in steps.tolist():
        filled = chance[total - reach : total + reach + 1].copy() / 2.0
        chance[total - reach : total + reach + 1] = 0.0
        chance[total - reach - step : total + reach + 1 - step] += filled
        chance[total - reach + step : total + reach + 1 + step] += filled
        reach += step
    if observed == 0:
        return 1.0
    tail = chance[: total - observed + 1].sum() + chance[total + observed :].sum()
    return float(min(1.0, tail))


def holm(p_values: Sequence[float] | Floats) -> Floats:
    """Return p values corrected for their number, in the order given.

    Holm, A Simple Sequentially Rejective Multiple Test Procedure, Scandinavian Journal of
    Statistics 6(2), 1979: rejecting what is below a level errs anywhere with at most that
    probability, whatever the dependence between the tests.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    factors = np.arange(len(p), 0, -1)
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * factors))
    return corrected

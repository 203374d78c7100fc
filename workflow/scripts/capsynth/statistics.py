"""Intervals and tests: bootstrap over images and seeds, exact sign-flip test, Holm correction.

The design. Every run of an evaluation set answers the same images, so images and training seeds
are crossed. Images are drawn within their class, and images that share a source (the corrupted
versions of one photograph) are drawn together, as one unit. Seeds are drawn independently of the
images, and all runs see the same draw of both, so that differences between training sets are
paired (the pigeonhole bootstrap: Owen, The Pigeonhole Bootstrap, Annals of Applied Statistics
1(2), 2007).

Of ``n`` units or seeds, ``n - 1`` are drawn with replacement: the variance of a mean over the
replicates is then s²/n, without the factor (n - 1)/n that halves the variance of two seeds
(McCarthy and Snowden, The Bootstrap and Finite Population Sampling, Vital and Health Statistics
2(95), 1985; Rao and Wu, Resampling Inference with Complex Survey Data, JASA 83, 1988). A single
unit or seed is kept as it is and adds no variance.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from capsynth.errors import CapsynthError

Floats = npt.NDArray[np.floating]
Integers = npt.NDArray[np.integer]

LEVEL = 0.95
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
    units = sum(len(stratum) for stratum in design.strata)
    for start in range(0, draws, block):
        of_units = np.empty((min(block, draws - start), units))
        for stratum in design.strata:
            of_units[:, stratum] = _stratum_weights(len(stratum), len(of_units), rng)
        yield of_units[:, design.unit]


def _stratum_weights(n: int, draws: int, rng: np.random.Generator) -> Floats:
    if n == 1:
        return np.ones((draws, 1))
    counts = rng.multinomial(n - 1, np.full(n, 1.0 / n), size=draws)
    return counts * (n / (n - 1))


def seed_draws(seeds: int, draws: int, seed: int) -> Integers:
    """Return positions of resampled training seeds, shape (max(1, seeds - 1), draws)."""
    rng = np.random.default_rng(seed)
    return rng.integers(seeds, size=(max(1, seeds - 1), draws))


def over_seeds(replicates: Floats, chosen: Integers) -> Floats:
    """Return replicates of the mean over seeds.

    Args:
        replicates: Of every seed's run under the same draws of images: (seeds, draws, metrics).
        chosen: Resampled seeds of every draw, from ``seed_draws``.

    Returns:
        Shape (draws, metrics).
    """
    return replicates[chosen, np.arange(replicates.shape[1])].mean(axis=0)


def interval(replicates: Floats, level: float = LEVEL) -> tuple[Floats, Floats]:
    """Return the percentile interval of replicates (draws, metrics): two arrays (metrics,).

    Efron, Nonparametric Standard Errors and Confidence Intervals, Canadian Journal of Statistics
    9(2), 1981. Where no sample is wrong the interval has no width: it says that nothing was seen
    to vary, not that nothing could.
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
    these trained models differ on new images; the variance between seeds is in the intervals of
    ``over_seeds``, not in this p value.

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

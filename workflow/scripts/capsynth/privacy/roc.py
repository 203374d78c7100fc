"""How well scores tell members from non-members: ROC, AUC, accuracies, rates at few false alarms.

A sample is called a member if its score is at least a threshold, so a higher score means "more
like a member". Every metric is a function of the two rates, the share of members that are called
members (TPR) and the share of non-members that are (FPR), and so does not depend on how many there
are of each: all samples are used, none is dropped to make the two numbers equal.

Rates take weights of shape (draws, n) and return a curve a draw. Weights of one give the curve
itself, the weights of ``statistics.image_weights`` its bootstrap replicates.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from capsynth.errors import CapsynthError
from capsynth.intervals import LEVEL, NO_WIDTH
from capsynth.seeding import bucket
from capsynth.statistics import (
    ImageDesign,
    centred,
    estimate,
    image_weights,
    interval,
)

Floats = npt.NDArray[np.floating]
Integers = npt.NDArray[np.integer]
Booleans = npt.NDArray[np.bool_]

# False-positive rates at which attacks are compared (Carlini et al., Membership Inference Attacks
# From First Principles, IEEE S&P 2022).
FPRS = (0.01, 0.001)
# Shares are sums of weights: a rate that is equal to a bound may come out this much above it.
ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class Ranking:
    """Samples in descending order of their scores, samples of equal score together.

    Attributes:
        thresholds: Infinity, then the distinct scores in descending order, shape (k + 1,).
        members: Positions of the members in descending order of their scores.
        nonmembers: The same of the non-members.
        members_called: How many members reach each threshold, shape (k + 1,).
        nonmembers_called: How many non-members do, shape (k + 1,).
    """

    thresholds: Floats
    members: Integers
    nonmembers: Integers
    members_called: Integers
    nonmembers_called: Integers


@dataclass(frozen=True, eq=False)
class Roc:
    """ROC curves, from (0, 0) to (1, 1), one a draw: shape (draws, k + 1)."""

    fpr: Floats
    tpr: Floats


def rank(scores: Floats, member: Booleans) -> Ranking:
    """Return the ranking of ``n`` samples.

    Args:
        scores: Higher for what looks like a member, shape (n,); may be infinite.
        member: Whether each sample is a member, shape (n,).

    Raises:
        CapsynthError: If members or non-members are missing, or a score is not a number.
    """
    if scores.shape != member.shape or scores.ndim != 1:
        raise CapsynthError(
            f"scores {scores.shape} and membership {member.shape} do not belong together; "
            "score the samples again"
        )
    if member.all() or not member.any():
        raise CapsynthError(
            f"{int(member.sum())} members and {int((~member).sum())} non-members: an attack needs "
            "both; give it images that the model was not trained on as well"
        )
    if np.isnan(scores).any():
        raise CapsynthError(
            "a score is not a number, so a probability was none; evaluate the run again"
        )
    order = np.argsort(-scores, kind="stable")
    ordered, called = scores[order], member[order]
    last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    return Ranking(
        thresholds=np.append(np.inf, ordered[last]),
        members=order[called],
        nonmembers=order[~called],
        members_called=np.append(0, np.cumsum(called)[last]),
        nonmembers_called=np.append(0, np.cumsum(~called)[last]),
    )


def roc(ranking: Ranking, weights: Floats) -> Roc:
    """Return the ROC curve under each row of ``weights`` (draws, n)."""
    return Roc(
        fpr=_rates(weights, ranking.nonmembers, ranking.nonmembers_called),
        tpr=_rates(weights, ranking.members, ranking.members_called),
    )


def _rates(weights: Floats, positions: Integers, called: Integers) -> Floats:
    total = np.zeros((len(weights), len(positions) + 1))
    np.cumsum(np.take(weights, positions, axis=1), axis=1, out=total[:, 1:])
    total /= total[:, -1:]
    return np.take(total, called, axis=1)


def auc(curve: Roc) -> Floats:
    """Return the area under the curve by trapezoids, shape (draws,).

    It is the probability that a member scores higher than a non-member, ties counted as half.
    """
    heights = curve.tpr[:, 1:] + curve.tpr[:, :-1]
    return np.einsum("dk,dk->d", np.diff(curve.fpr, axis=1), heights) / 2.0


def best_accuracy(curve: Roc) -> Floats:
    """Return the balanced accuracy of the best threshold for these very samples, shape (draws,).

    Optimistic: on samples without any leak it is above 1/2, see ``best_accuracy_without_leak``.
    """
    return (1.0 + (curve.tpr - curve.fpr).max(axis=1)) / 2.0


def best_accuracy_without_leak(members: int, nonmembers: int) -> float:
    """Return the mean of ``best_accuracy`` where nothing leaks, for large samples.

    It is 1/2 + D/2, where D is the one-sided two-sample Kolmogorov-Smirnov statistic; its limit
    distribution, P(D > d) = exp(-2 d² m n / (m + n)), has the mean sqrt(π/8 (1/m + 1/n)). The p
    value of the attack is that of the same test (``scipy.stats.ks_2samp``).
    """
    return 0.5 + math.sqrt(math.pi / 32.0 * (1.0 / members + 1.0 / nonmembers))


def tpr_at_fpr(curve: Roc, fpr: float) -> Floats:
    """Return the highest TPR among thresholds whose FPR is at most ``fpr``, shape (draws,).

    No interpolation: between two thresholds an attack would have to toss coins. (Carlini et al.
    take the last threshold below the rate; here one that meets it exactly counts as well.)
    """
    allowed = (curve.fpr <= fpr + ROUNDING).sum(axis=1) - 1
    return curve.tpr[np.arange(len(curve.tpr)), allowed]


def resolves(nonmembers: int, fpr: float) -> bool:
    """Return whether so many non-members can show a false-positive rate: not below 1/n.

    With fewer, no false alarm at all is allowed, and a measured FPR of 0 may well be a true one
    above ``fpr``.
    """
    return nonmembers * fpr >= 1.0 - ROUNDING


def tpr_interval(ranking: Ranking, fpr: float, level: float = LEVEL) -> tuple[float, float]:
    """Return an interval of the TPR at the true FPR ``fpr`` that holds for any number of samples.

    Two uncertainties meet: few non-members say where the threshold of that FPR lies, and members
    are a sample as well. How many non-members exceed the true threshold is binomial, which puts it
    between two of their scores; the members above either one are binomial, too (Clopper and
    Pearson, The Use of Confidence or Fiducial Limits, Biometrika 26(4), 1934). Each step may err
    in half of the cases that ``level`` leaves over, so it covers at least as often as it says. A
    bootstrap does not: it knows no score beyond the few highest that were drawn, and where no
    member exceeds them its interval has no width. Where non-members are too few to resolve the
    rate, the lower bound is 0 and the upper one still holds.
    """
    from scipy.stats import beta, binom

    tail = (1.0 - level) / 4.0
    members, nonmembers = len(ranking.members), len(ranking.nonmembers)
    fewest, most = binom.ppf([tail, 1.0 - tail], nonmembers, fpr).astype(int)
    sure = _members_above(ranking, fewest)
    possible = _members_above(ranking, most + 1)
    low = beta.ppf(tail, sure, members - sure + 1) if sure else 0.0
    high = beta.ppf(1.0 - tail, possible + 1, members - possible) if possible < members else 1.0
    return float(low), float(high)


def _members_above(ranking: Ranking, place: int) -> int:
    """Return how many members score above the non-member at a place, 1 being the highest."""
    if place == 0:
        return 0
    if place > len(ranking.nonmembers):
        return len(ranking.members)
    # The last threshold that fewer than ``place`` non-members reach lies above that score.
    above = int(np.searchsorted(ranking.nonmembers_called, place, side="left")) - 1
    return int(ranking.members_called[above])


def calibration_half(keys: npt.NDArray[np.str_]) -> Booleans:
    """Return which samples choose the threshold and are not scored: a fixed half, by their keys."""
    return np.array([bucket(f"calibration/{key}", 2) == 0 for key in keys.tolist()], dtype=bool)


def best_threshold(ranking: Ranking) -> float:
    """Return the highest of the thresholds with the best balanced accuracy."""
    tpr = ranking.members_called / len(ranking.members)
    fpr = ranking.nonmembers_called / len(ranking.nonmembers)
    return float(ranking.thresholds[np.argmax(tpr - fpr)])


def calibrated_accuracy(
    scores: Floats, member: Booleans, calibration: Booleans, weights: Floats
) -> Floats:
    """Return the balanced accuracy, on the other half, of the threshold one half chose: (draws,).

    Not a number where a half lacks members or non-members. The weights resample what is scored;
    the threshold stays, so an interval is one of this threshold's accuracy.
    """
    sides = [member, ~member]
    if not all((side & half).any() for side in sides for half in (calibration, ~calibration)):
        return np.full(len(weights), np.nan)
    right = member == (scores >= best_threshold(rank(scores[calibration], member[calibration])))
    scored = [side & ~calibration for side in sides]
    # One product instead of copies of columns; a draw may have taken nothing of a tiny side.
    sums = weights @ np.stack([*scored, *(right & rows for rows in scored)], axis=1).astype(float)
    with np.errstate(invalid="ignore"):
        rates = sums[:, 2:] / sums[:, :2]
    return rates.mean(axis=1)


METRICS = ("auc", "best_accuracy", "calibrated_accuracy", *(f"tpr_at_fpr_{rate}" for rate in FPRS))


@dataclass(frozen=True, eq=False)
class Measured:
    """The metrics of an attack on several models, in the order of ``METRICS``.

    Attributes:
        values: Shape (models, metrics); not a number where there are too few samples.
        replicates: Shape (models, draws, metrics), under the same draws of images for all models.
        exact: Bounds of ``tpr_interval``: shape (models, rates of ``FPRS``, 2).
    """

    values: Floats
    replicates: Floats
    exact: Floats


def measure(
    scores: Floats,
    member: Booleans,
    calibration: Booleans,
    design: ImageDesign,
    draws: int,
    seed: int,
) -> Measured:
    """Return the metrics of an attack on models that answered the same images.

    Args:
        scores: Of every model, such as those of several training seeds: shape (models, n).
        member: Whether each sample is a member, shape (n,).
        calibration: Which samples choose a threshold, shape (n,); see ``calibration_half``.
        design: Which images are drawn together. For members and non-members that are different
            images ``image_design`` of strata such as ``member/car`` and of their keys; for those
            that come in pairs, of their classes and what the pair shares.
        draws: Bootstrap replicates.
        seed: Seed of the draws.

    Raises:
        CapsynthError: If members or non-members are missing, or a score is not a number.
    """
    rankings = [rank(row, member) for row in scores]
    blocks: list[list[Floats]] = [[] for _ in scores]
    for weights in image_weights(design, draws, seed):
        for model, ranking in enumerate(rankings):
            blocks[model].append(_metrics(ranking, scores[model], member, calibration, weights))
    ones = np.ones((1, len(member)))
    values = [
        _metrics(ranking, row, member, calibration, ones)[0]
        for ranking, row in zip(rankings, scores, strict=True)
    ]
    exact = [[tpr_interval(ranking, fpr) for fpr in FPRS] for ranking in rankings]
    return Measured(
        np.array(values), np.array([np.concatenate(b) for b in blocks]), np.array(exact)
    )


def _metrics(
    ranking: Ranking, scores: Floats, member: Booleans, calibration: Booleans, weights: Floats
) -> Floats:
    """Return all metrics under weights: shape (draws, metrics)."""
    curve = roc(ranking, weights)
    columns = [
        auc(curve),
        best_accuracy(curve),
        calibrated_accuracy(scores, member, calibration, weights),
    ]
    for fpr in FPRS:
        known = resolves(len(ranking.nonmembers), fpr)
        columns.append(tpr_at_fpr(curve, fpr) if known else np.full(len(weights), np.nan))
    return np.stack(columns, axis=1)


@dataclass(frozen=True, eq=False)
class Estimates:
    """Metrics with their 95 % intervals, in the order of ``METRICS``: arrays (metrics,)."""

    values: Floats
    low: Floats
    high: Floats


def of_model(measured: Measured, model: int) -> Estimates:
    """Return one model's metrics.

    Intervals are bootstrap percentiles; rates at few false alarms have that of ``tpr_interval``.
    """
    values = measured.values[model]
    low, high = _percentiles(values, measured.replicates[model])
    low[-len(FPRS) :], high[-len(FPRS) :] = measured.exact[model].T
    return Estimates(values, low, high)


def over_models(measured: Measured, df_images: int) -> Estimates:
    """Return the means over models that differ by their training seed.

    Intervals hold the variance of images and of seeds (``statistics.estimate``), those of rates at
    few false alarms as well: there is no exact one for a mean over models that answered the same
    images.

    Args:
        measured: Of the models.
        df_images: Degrees of freedom of the images' variance, from ``statistics.image_df``.
    """
    found = estimate(measured.values, measured.replicates, df_images)
    return Estimates(found.value, found.low, found.high)


def with_width(found: Estimates, exact: Floats, images: int) -> Estimates:
    """Return the estimates with exact bounds where nothing was seen to vary.

    A share of 0 or 1 ends where so many images without an exception would be 2.5 % likely, one that
    half of the images choose a threshold for with half as many. Rates at few false alarms keep the
    hull of the models' exact bounds. What is neither, such as the AUC of equal scores, has none.

    Args:
        found: Of one model or over several.
        exact: ``Measured.exact``.
        images: Members or non-members of a model, whichever are fewer.
    """
    low, high = found.low.copy(), found.high.copy()
    flat = ~np.isnan(found.values) & ~(high - low > NO_WIDTH)
    n = np.array([max(1, images // 2 if "calibrated" in name else images) for name in METRICS])
    rare = 1.0 - ((1.0 - LEVEL) / 2.0) ** (1.0 / n)
    is_all, is_none = found.values >= 1.0 - ROUNDING, found.values <= ROUNDING
    low[flat] = np.where(is_all, 1.0 - rare, np.where(is_none, 0.0, np.nan))[flat]
    high[flat] = np.where(is_all, 1.0, np.where(is_none, rare, np.nan))[flat]
    rates = np.flatnonzero(flat[-len(FPRS) :])
    places = rates + len(METRICS) - len(FPRS)
    low[places] = np.minimum(exact[:, rates, 0].min(axis=0), found.values[places])
    high[places] = np.maximum(exact[:, rates, 1].max(axis=0), found.values[places])
    return Estimates(found.values, low, high)


def _percentiles(values: Floats, replicates: Floats) -> tuple[Floats, Floats]:
    """Return the bounds of metrics; what resampling biases is moved to have its mean at the value.

    It raises the best of all thresholds, and the share of a non-member that is drawn twice moves a
    rate at few false alarms.
    """
    biased = [name == "best_accuracy" or name.startswith("tpr") for name in METRICS]
    replicates = np.where(biased, centred(replicates, values), replicates)
    return interval(replicates)

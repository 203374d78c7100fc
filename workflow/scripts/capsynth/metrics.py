"""Metrics of a classifier on an evaluation set, as functions of numpy arrays.

Every metric takes the scores of ``n`` samples and weights of shape ``(draws, n)`` and returns one
value a draw. Weights of one give the metric itself, the weights of a bootstrap its replicates, so
a metric is written once. A new metric is one more entry in ``METRICS``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from capsynth.errors import CapsynthError

Floats = npt.NDArray[np.floating]
Integers = npt.NDArray[np.integer]
Booleans = npt.NDArray[np.bool_]

ECE_BINS = 15
# Numbers that are worked on at once: what a processor keeps in its cache.
PER_BLOCK = 1 << 16
TOP = 5
WORST_CLASS = "worst_class"
# Softmax in single precision underflows to 0; the logarithm is taken of the least normal number.
LEAST_PROBABILITY = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True, eq=False)
class SampleScores:
    """What the metrics need to know of each of ``n`` samples, without its probabilities.

    Attributes:
        correct: Whether the prediction is the target, shape (n,).
        correct_top5: Whether the target is among the five most probable classes, shape (n,).
        nll: Negative natural logarithm of the probability of the target, shape (n,).
        confidence: Probability of the most probable class, shape (n,).
        brier: Squared distance of the probabilities from the target's unit vector, shape (n,).
        target: Index of the true class, shape (n,).
        prediction: Index of the predicted class, shape (n,).
        classes: How many classes could be answered.
    """

    correct: Booleans
    correct_top5: Booleans
    nll: Floats
    confidence: Floats
    brier: Floats
    target: Integers
    prediction: Integers
    classes: int

    def __len__(self) -> int:
        return len(self.correct)

    def take(self, rows: Integers | Booleans) -> "SampleScores":
        """Return the scores of some of the samples."""
        return SampleScores(
            self.correct[rows],
            self.correct_top5[rows],
            self.nll[rows],
            self.confidence[rows],
            self.brier[rows],
            self.target[rows],
            self.prediction[rows],
            self.classes,
        )


def score_samples(probabilities: Floats, prediction: Integers, target: Integers) -> SampleScores:
    """Return the scores of ``n`` samples over ``classes`` classes.

    Classes of equal probability rank in their order, as ``argmax`` has it.

    Args:
        probabilities: Shape (n, classes); each row sums to one.
        prediction: Index of the predicted class, shape (n,).
        target: Index of the true class, shape (n,).

    Raises:
        CapsynthError: If the shapes disagree or a target is not a class.
    """
    if probabilities.ndim != 2 or not len(probabilities) == len(prediction) == len(target):
        raise CapsynthError(
            f"probabilities {probabilities.shape}, predictions {prediction.shape} and targets "
            f"{target.shape} do not belong together; evaluate the run again"
        )
    n, classes = probabilities.shape
    if n and not (0 <= target.min() and target.max() < classes):
        raise CapsynthError(
            f"targets lie in {target.min()}..{target.max()}, classes in 0..{classes - 1}; "
            "evaluate the run again"
        )
    of_target = probabilities[np.arange(n), target][:, None]
    before = np.arange(classes) < target[:, None]
    rank = ((probabilities > of_target) | ((probabilities == of_target) & before)).sum(axis=1)
    distance = probabilities.astype(np.float64)
    distance[np.arange(n), target] -= 1.0
    return SampleScores(
        correct=prediction == target,
        correct_top5=rank < TOP,
        nll=-np.log(np.maximum(of_target[:, 0], LEAST_PROBABILITY)),
        confidence=probabilities.max(axis=1, initial=0.0),
        brier=np.einsum("ij,ij->i", distance, distance),
        target=np.asarray(target),
        prediction=np.asarray(prediction),
        classes=classes,
    )


def weighted_mean(values: npt.NDArray[np.generic], weights: Floats) -> Floats:
    """Return the means of ``values`` (n,) under ``weights`` (draws, n): shape (draws,)."""
    return weights @ values.astype(np.float64) / weights.sum(axis=1)


def top1(scores: SampleScores, weights: Floats) -> Floats:
    """Return the share of samples whose prediction is the target."""
    return weighted_mean(scores.correct, weights)


def means_of_parts(values: npt.NDArray[np.generic], weights: Floats, starts: Integers) -> Floats:
    """Return the means of parts of the samples: shape (draws, parts).

    Args:
        values: Of the samples, those of one part after those of another, shape (n,).
        weights: Shape (draws, n).
        starts: Where each part begins; none is empty.
    """
    sums: Floats = np.add.reduceat(weights * values.astype(np.float64), starts, axis=1)
    return sums / np.add.reduceat(weights, starts, axis=1)


@dataclass(frozen=True, eq=False)
class ClassSums:
    """Weights of the samples summed by class, from which the metrics of classes are computed.

    Attributes:
        right: Of the right answers, shape (draws, classes).
        of_target: Of the samples of each class, same shape.
        of_prediction: Of the samples that each class was predicted for, same shape.
        present: The classes that have samples.
    """

    right: Floats
    of_target: Floats
    of_prediction: Floats
    present: Integers

    @cached_property
    def recall(self) -> Floats:
        """Accuracy on each class, shape (draws, classes); 0 for a class without samples."""
        return _shares(self.right, self.of_target)

    @cached_property
    def precision(self) -> Floats:
        """Share of each class's predictions that are right, shape (draws, classes).

        0 for a class that is never predicted, as ``zero_division=0`` of scikit-learn has it. Unlike
        recall it depends on how many samples each of the classes has.
        """
        return _shares(self.right, self.of_prediction)


def _shares(part: Floats, whole: Floats) -> Floats:
    shares: Floats = np.divide(part, whole, out=np.zeros_like(whole), where=whole > 0.0)
    return shares


def class_sums(scores: SampleScores, weights: Floats) -> ClassSums:
    """Return the weights (draws, n) summed by class."""
    right = np.flatnonzero(scores.correct)
    return ClassSums(
        _sums_of(scores.target[right], np.take(weights, right, axis=1), scores.classes),
        _sums_of(scores.target, weights, scores.classes),
        _sums_of(scores.prediction, weights, scores.classes),
        np.unique(scores.target),
    )


def _sums_of(label: Integers, weights: Floats, classes: int) -> Floats:
    """Return the sums of weights (draws, n) by label: shape (draws, classes)."""
    sums = np.zeros((len(weights), classes))
    if not len(label):
        return sums
    order = np.argsort(label, kind="stable")
    found, starts = np.unique(label[order], return_index=True)
    # As many draws at once as stay in the processor's cache.
    size = max(1, PER_BLOCK // len(label))
    for start in range(0, len(weights), size):
        block = weights[start : start + size].take(order, axis=1)
        sums[start : start + size, found] = np.add.reduceat(block, starts, axis=1)
    return sums


def _balanced_accuracy(sums: ClassSums) -> Floats:
    """Return the mean accuracy over the classes that have samples."""
    return sums.recall[:, sums.present].mean(axis=1)


def _macro_precision(sums: ClassSums) -> Floats:
    """Return the mean precision over the classes that have samples."""
    return sums.precision[:, sums.present].mean(axis=1)


def _worst_class(sums: ClassSums) -> Floats:
    """Return the least accuracy on a class that has samples.

    The minimum of estimates is below the least of what they estimate, the more so the fewer samples
    a class has: ``minima`` has an interval that says how far.
    """
    return sums.recall[:, sums.present].min(axis=1)


def error(scores: SampleScores, weights: Floats) -> Floats:
    """Return the share of samples whose prediction is not the target."""
    return 1.0 - top1(scores, weights)


def top5(scores: SampleScores, weights: Floats) -> Floats:
    """Return the share of samples whose target is among the five most probable classes."""
    return weighted_mean(scores.correct_top5, weights)


def nll(scores: SampleScores, weights: Floats) -> Floats:
    """Return the mean negative log-likelihood of the targets, in nats."""
    return weighted_mean(scores.nll, weights)


def brier(scores: SampleScores, weights: Floats) -> Floats:
    """Return the mean Brier score over all classes, from 0 to 2.

    Brier, Verification of Forecasts Expressed in Terms of Probability, Monthly Weather Review
    78(1), 1950. For two classes it is twice the score of the positive class alone.
    """
    return weighted_mean(scores.brier, weights)


def bins_of(confidence: Floats, bins: int = ECE_BINS) -> Integers:
    """Return the bin of every confidence, of bins of equal width that hold (low, high].

    A confidence of 0 is in the first. The first bin's side is Guo et al.'s; torchmetrics' bins
    hold [low, high), so that the two differ where a confidence lies exactly on an edge, and it
    counts a confidence of 1 as a bin of its own.
    """
    edges = np.linspace(0.0, 1.0, bins + 1)
    return np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)


def ece(scores: SampleScores, weights: Floats) -> Floats:
    """Return the expected calibration error with 15 bins of equal width.

    The mean over bins, weighted by their samples, of |accuracy - mean confidence|; a bin holds
    the confidences in (low, high]. Guo et al., On Calibration of Modern Neural Networks, ICML
    2017, equation 3. It is above 0 for a calibrated classifier too, more so with few samples.
    """
    confidence = scores.confidence.astype(np.float64)
    gaps = np.zeros((len(scores), ECE_BINS))
    gaps[np.arange(len(scores)), bins_of(confidence)] = scores.correct - confidence
    return np.abs(weights @ gaps).sum(axis=1) / weights.sum(axis=1)


def adaptive_ece(scores: SampleScores, weights: Floats) -> Floats:
    """Return the calibration error with 15 bins of as many samples each, one more or less.

    Nguyen and O'Connor, Posterior Calibration and Exploratory Analysis for Natural Language
    Processing Models, EMNLP 2015. The samples are ordered by confidence and cut as
    ``np.array_split`` cuts them: the first bins hold one more where 15 does not divide their
    number. Samples of equal confidence stay in their order, and may lie in two bins. Draws have
    the bins of all samples.
    """
    confidence = scores.confidence.astype(np.float64)
    order = np.argsort(scores.confidence, kind="stable")
    gaps = np.zeros((len(scores), ECE_BINS))
    for place, rows in enumerate(np.array_split(order, ECE_BINS)):
        gaps[rows, place] = scores.correct[rows] - confidence[rows]
    return np.abs(weights @ gaps).sum(axis=1) / weights.sum(axis=1)


def adaptive_ece_shared(scores: SampleScores, weights: Floats) -> Floats:
    """Return the calibration error with 15 bins of exactly equal mass.

    As ``adaptive_ece`` without its accidents: every bin holds exactly a 15th of the samples, so
    that one on the border of two is shared out between them, and samples of equal confidence are
    one mass with their mean accuracy, so that their order does not matter.
    """
    n = len(scores)
    order = np.argsort(scores.confidence, kind="stable")
    confidence = scores.confidence[order].astype(np.float64)
    gaps = scores.correct[order] - confidence
    borders = np.linspace(0.0, 1.0, ECE_BINS + 1)
    errors = np.empty(len(weights))
    # As many draws at once as stay in the processor's cache, which is several times as fast.
    size = max(1, PER_BLOCK // n)
    all_mass = np.empty((size, n))
    # Of the last array, entry i of a draw is the mass of its first i samples.
    all_gap, all_upto = np.zeros((2, size, n + 1))
    for start in range(0, len(weights), size):
        block = weights[start : start + size]
        mass, gap, upto = (array[: len(block)] for array in (all_mass, all_gap, all_upto))
        block.take(order, axis=1, out=mass, mode="clip")
        np.multiply(mass, gaps, out=gap[:, :-1])
        np.cumsum(mass, axis=1, out=upto[:, 1:])
        at = borders * upto[:, -1:]
        # Each border cuts the samples from begin to end, which have the same confidence.
        cut = np.array([one.searchsorted(a) for one, a in zip(upto, at, strict=True)]) - 1
        of_cut = confidence[cut.clip(0, n - 1)]
        begin = np.searchsorted(confidence, of_cut, side="left")
        end = np.searchsorted(confidence, of_cut, side="right")
        of_draw = np.arange(len(block))[:, None] * (n + 1)
        places = np.stack([begin + of_draw, end + of_draw], axis=-1)
        sums = np.add.reduceat(gap.ravel(), places.ravel()).reshape(places.shape)
        of_ties = sums[..., 0]
        between = np.where(end[:, :-1] < begin[:, 1:], sums[:, :-1, 1], 0.0)
        before = np.take_along_axis(upto, begin, axis=1)
        width = np.take_along_axis(upto, end, axis=1) - before
        share = np.divide(at - before, width, out=np.zeros_like(at), where=width > 0.0)
        whole = np.where(begin[:, :-1] < begin[:, 1:], of_ties[:, :-1] + between, 0.0)
        gaps_of_bins = whole + np.diff(share * of_ties, axis=1)
        errors[start : start + size] = np.abs(gaps_of_bins).sum(axis=1) / upto[:, -1]
    return errors


@dataclass(frozen=True)
class Metric:
    """One entry of the registry.

    Attributes:
        function: From scores and weights (draws, n) to values (draws,).
        most: Its highest possible value; the lowest is 0. Intervals end there.
        classes_above: It is defined for more classes than this.
        values: Of a metric that is a mean over samples: their values, from which it is computed for
            many parts of an evaluation set at once.
        of_sums: Of a metric of classes: how it is computed from sums that all such metrics share.
    """

    function: Callable[[SampleScores, Floats], Floats]
    most: float = 1.0
    classes_above: int = 0
    values: Callable[[SampleScores], npt.NDArray[np.generic]] | None = None
    of_sums: Callable[[ClassSums], Floats] | None = None


def _of_classes(of_sums: Callable[[ClassSums], Floats]) -> Metric:
    return Metric(lambda scores, weights: of_sums(class_sums(scores, weights)), of_sums=of_sums)


def precision_of(index: int) -> Metric:
    """Return the precision of one class: the share of its predictions that are right."""
    return _of_classes(lambda sums: sums.precision[:, index])


TOP1 = Metric(top1, values=lambda scores: scores.correct)
ERROR = Metric(error, values=lambda scores: ~scores.correct)

METRICS: dict[str, Metric] = {
    "top1": TOP1,
    "top5": Metric(top5, classes_above=TOP, values=lambda scores: scores.correct_top5),
    "nll": Metric(nll, most=np.inf),
    "brier": Metric(brier, most=2.0),
    "ece": Metric(ece),
    "adaptive_ece": Metric(adaptive_ece),
    "adaptive_ece_shared": Metric(adaptive_ece_shared),
    "balanced_accuracy": _of_classes(_balanced_accuracy),
    "macro_precision": _of_classes(_macro_precision),
    WORST_CLASS: _of_classes(_worst_class),
}

"""How well a classifier tells images of its classes from images of none: AUROC, FPR95 and AUPR.

Conventions. A score is high where the classifier takes an image for one of its classes; images of
its classes are the positives. An image is accepted if its score is at least the threshold, so that
images of equal score are accepted together, whichever set they are of.

- AUROC: the chance that an image of the classes has the higher score than an unknown one, ties
  counted half. 0.5 for a score that knows nothing.
- FPR95: the share of unknown images that is accepted at the highest threshold that accepts at least
  95 % of the images of the classes. 0.95 for a score that knows nothing, if it has no ties.
- AUPR-in: the area under the curve of precision over recall with images of the classes as the
  positives, as Hendrycks and Gimpel (below) report it beside AUROC: average precision, the mean
  over the positives of the precision at their score. AUPR-out: the same with unknown images as the
  positives and the scores negated. For a score that knows nothing the share of the positives among
  the images, so that numbers on sets of another mixture do not compare. Some packages (OpenOOD,
  pytorch-ood) join the points of the curve by straight lines, which is too high where they lie far
  apart (Davis and Goadrich, The Relationship Between Precision-Recall and ROC Curves, ICML 2006).

Scores: the maximum softmax probability (Hendrycks and Gimpel, A Baseline for Detecting
Misclassified and Out-of-Distribution Examples in Neural Networks, ICLR 2017), and the negative
energy, log Σ exp of the logits at temperature 1 (Liu et al., Energy-based Out-of-distribution
Detection, NeurIPS 2020, equation 4).
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from capsynth.errors import CapsynthError
from capsynth.predictions import Predictions
from capsynth.statistics import Floats, Integers

ACCEPTED = 0.95
# What sums of weights in another order may differ by, as a share.
ROUNDING = 1e-9
MAX_SOFTMAX = "max_softmax"
ENERGY = "energy"
SCORES = (MAX_SOFTMAX, ENERGY)
AUROC, FPR95, AUPR_IN, AUPR_OUT = "auroc", "fpr95", "aupr_in", "aupr_out"
# In the order of ``Separation.metrics``.
METRICS = (AUROC, FPR95, AUPR_IN, AUPR_OUT)


def chance_of(inside: int, outside: int) -> dict[str, float]:
    """Return what each metric is for a score that knows nothing.

    Args:
        inside: Images of the classes.
        outside: Unknown images.
    """
    share = inside / (inside + outside)
    return {AUROC: 0.5, FPR95: ACCEPTED, AUPR_IN: share, AUPR_OUT: 1.0 - share}


def least_after_perfect(inside: int, outside: int, tail: float) -> dict[str, float]:
    """Return the lower bounds of AUROC and AUPR where every image of a class scored higher.

    An error that a share q of the images of one set makes is missed by all n of them with
    probability (1 - q)^n; q is where that is ``tail``. AUROC is then 1 - q at least. The area under
    precision and recall is least if q of the negatives lie above all positives,
    1 - r log(1 + 1 / r) with r negatives up there for each positive, or q of the positives below
    all negatives, 1 - c log((1 + c) / (1 - q + c)) with c negatives for each positive.

    Args:
        inside: Images of the classes.
        outside: Unknown images.
        tail: How likely the errors were missed.
    """
    missed = {n: 1.0 - tail ** (1.0 / n) for n in (inside, outside)}

    def area(positives: int, negatives: int) -> float:
        ratio, share = negatives / positives, missed[positives]
        above = missed[negatives] * ratio
        return min(
            1.0 - above * math.log1p(1.0 / above),
            1.0 - ratio * math.log((1.0 + ratio) / (1.0 - share + ratio)),
        )

    return {
        AUROC: 1.0 - max(missed.values()),
        AUPR_IN: area(inside, outside),
        AUPR_OUT: area(outside, inside),
    }


def scores_of(predictions: Predictions, score: str) -> Floats:
    """Return a score of every sample, higher for what is taken for a class: shape (n,), float64.

    Raises:
        CapsynthError: If it is the energy and the predictions have none.
    """
    if score == MAX_SOFTMAX:
        return predictions.probabilities.max(axis=1).astype(np.float64)
    if predictions.log_sum_exp is None:
        raise CapsynthError(
            f"the predictions of {predictions.training_set}, {predictions.recipe}, seed "
            f"{predictions.seed} on {predictions.eval_set} hold no energy: an earlier version "
            "wrote them; delete the file and run evaluate_classifier again"
        )
    return predictions.log_sum_exp.astype(np.float64)


@dataclass(frozen=True, eq=False)
class Separation:
    """The scores of images of the classes and of unknown ones, sorted once for all draws.

    Attributes:
        inside: Scores of images of the classes, ascending.
        inside_order: The order that sorts them.
        outside_order: The order that sorts the scores of unknown images, ascending.
        below: For every score of ``inside`` how many of the sorted unknown ones are lower.
        upto: The same for lower or equal.
        inside_first: Place of the first score of ``inside`` that equals each.
        outside_upto: For every sorted unknown score how many of the unknown ones are at most it.
        inside_upto: The same for scores of ``inside``.
    """

    inside: Floats
    inside_order: Integers
    outside_order: Integers
    below: Integers
    upto: Integers
    inside_first: Integers
    outside_upto: Integers
    inside_upto: Integers

    @classmethod
    def of(cls, inside: Floats, outside: Floats) -> "Separation":
        """Return the separation of two sets of scores, shapes (n,) and (m,)."""
        inside_order = np.argsort(inside, kind="stable")
        outside_order = np.argsort(outside, kind="stable")
        found, others = inside[inside_order], outside[outside_order]
        return cls(
            found,
            inside_order,
            outside_order,
            np.searchsorted(others, found, side="left"),
            np.searchsorted(others, found, side="right"),
            np.searchsorted(found, found, side="left"),
            np.searchsorted(others, others, side="right"),
            np.searchsorted(found, others, side="right"),
        )

    def metrics(self, inside_weights: Floats, outside_weights: Floats) -> Floats:
        """Return ``METRICS`` of every draw: shape (draws, 4).

        Args:
            inside_weights: Weights of the images of the classes, shape (draws, n).
            outside_weights: Weights of the unknown images, shape (draws, m).
        """
        w, mass_in = _cumulated(inside_weights, self.inside_order)
        v, mass = _cumulated(outside_weights, self.outside_order)
        total_in, total_out = mass_in[:, -1:], mass[:, -1:]
        lower = (np.take(mass, self.below, axis=1) + np.take(mass, self.upto, axis=1)) / 2.0
        auroc = np.einsum("ij,ij->i", w, lower) / (total_in * total_out)[:, 0]
        # Mass that is accepted at the score of each place, from the highest down: the last place
        # that keeps enough is where the threshold lies. Equal scores have equal ``below``.
        accepted = total_in - mass_in[:, :-1]
        enough = accepted >= (ACCEPTED - ROUNDING) * total_in
        place = np.maximum(0, enough.sum(axis=1) - 1)
        fpr95 = 1.0 - mass[np.arange(len(w)), self.below[place]] / total_out[:, 0]
        aupr_in = _average_precision(
            w,
            total_in - np.take(mass_in, self.inside_first, axis=1),
            total_out - np.take(mass, self.below, axis=1),
        )
        aupr_out = _average_precision(
            v, np.take(mass, self.outside_upto, axis=1), np.take(mass_in, self.inside_upto, axis=1)
        )
        return np.stack([auroc, fpr95, aupr_in, aupr_out], axis=1)


def _cumulated(weights: Floats, order: Integers) -> tuple[Floats, Floats]:
    """Return weights in an order, (draws, n), and their sums up to each place, (draws, n + 1)."""
    ordered = np.take(weights, order, axis=1)
    mass = np.zeros((len(weights), len(order) + 1))
    np.cumsum(ordered, axis=1, out=mass[:, 1:])
    return ordered, mass


def _average_precision(weights: Floats, right: Floats, wrong: Floats) -> Floats:
    """Return the mean precision at the positives: shape (draws,).

    Args:
        weights: Of the positives, shape (draws, n).
        right: Mass of the positives that are accepted at the score of each, same shape.
        wrong: Mass of the negatives that are, same shape.
    """
    accepted = right + wrong
    # A positive that weighs nothing, with nothing above it, counts nothing.
    precision = np.divide(right, accepted, out=np.zeros_like(right), where=accepted > 0.0)
    found: Floats = np.einsum("ij,ij->i", weights, precision) / weights.sum(axis=1)
    return found


def in_step(first: Iterable[Floats], second: Iterable[Floats]) -> Iterator[tuple[Floats, Floats]]:
    """Yield the rows of two series of blocks together, whatever the sizes of the blocks.

    Both have the same number of rows over all.
    """
    others = iter(second)
    waiting: Floats | None = None
    for block in first:
        left = block
        while len(left):
            if waiting is None or not len(waiting):
                waiting = next(others)
            size = min(len(left), len(waiting))
            yield left[:size], waiting[:size]
            left, waiting = left[size:], waiting[size:]

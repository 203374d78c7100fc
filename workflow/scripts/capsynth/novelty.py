"""How well a classifier tells images of its classes from images of none: AUROC and FPR95.

Conventions. A score is high where the classifier takes an image for one of its classes; images of
its classes are the positives. An image is accepted if its score is at least the threshold, so that
images of equal score are accepted together, whichever set they are of.

- AUROC: the chance that an image of the classes has the higher score than an unknown one, ties
  counted half. 0.5 for a score that knows nothing.
- FPR95: the share of unknown images that is accepted at the highest threshold that accepts at least
  95 % of the images of the classes. 0.95 for a score that knows nothing, if it has no ties.

Scores: the maximum softmax probability (Hendrycks and Gimpel, A Baseline for Detecting
Misclassified and Out-of-Distribution Examples in Neural Networks, ICLR 2017), and the negative
energy, log Σ exp of the logits at temperature 1 (Liu et al., Energy-based Out-of-distribution
Detection, NeurIPS 2020, equation 4).
"""

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
# What each metric is for a score that knows nothing.
CHANCE = {"auroc": 0.5, "fpr95": ACCEPTED}


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
    """

    inside: Floats
    inside_order: Integers
    outside_order: Integers
    below: Integers
    upto: Integers

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
        )

    def metrics(self, inside_weights: Floats, outside_weights: Floats) -> Floats:
        """Return AUROC and FPR95 of every draw: shape (draws, 2).

        Args:
            inside_weights: Weights of the images of the classes, shape (draws, n).
            outside_weights: Weights of the unknown images, shape (draws, m).
        """
        draws = len(inside_weights)
        w = np.take(inside_weights, self.inside_order, axis=1)
        mass = np.zeros((draws, len(self.outside_order) + 1))
        np.cumsum(np.take(outside_weights, self.outside_order, axis=1), axis=1, out=mass[:, 1:])
        total_in, total_out = w.sum(axis=1), mass[:, -1]
        lower = (np.take(mass, self.below, axis=1) + np.take(mass, self.upto, axis=1)) / 2.0
        auroc = np.einsum("ij,ij->i", w, lower) / (total_in * total_out)
        # Mass that is accepted at the score of each place, from the highest down: the last place
        # that keeps enough is where the threshold lies. Equal scores have equal ``below``.
        accepted = np.cumsum(w[:, ::-1], axis=1)[:, ::-1]
        enough = accepted >= (ACCEPTED - ROUNDING) * total_in[:, None]
        place = enough.sum(axis=1) - 1
        fpr95 = 1.0 - mass[np.arange(draws), self.below[place]] / total_out
        return np.stack([auroc, fpr95], axis=1)


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

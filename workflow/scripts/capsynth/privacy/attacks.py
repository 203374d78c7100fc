"""Membership inference with the attacked model alone: scores of its answers, the paper's attack.

A score takes the probabilities of ``n`` samples, shape (n, classes), and their true classes, and is
higher for what looks like a member. What is made of scores is in ``roc``.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from capsynth.metrics import LEAST_PROBABILITY

Floats = npt.NDArray[np.floating]
Integers = npt.NDArray[np.integer]

# The paper's members: the first images of each batch of its loader.
PAPER_BATCH = 50
PAPER_FIRST = 2


def confidence(probabilities: Floats, target: Integers) -> Floats:
    """Return the probability of the true class, shape (n,).

    The loss, its negative logarithm, ranks samples alike, so that this is the loss attack as well
    (Yeom et al., Privacy Risk in Machine Learning, IEEE CSF 2018).
    """
    return probabilities[np.arange(len(target)), target].astype(np.float64)


def entropy(probabilities: Floats, target: Integers) -> Floats:
    """Return the negative entropy of the prediction; the true class plays no part.

    Salem et al., ML-Leaks, NDSS 2019; Song and Mittal, Systematic Evaluation of Privacy Risks of
    Machine Learning Models, USENIX Security 2021.
    """
    p = probabilities.astype(np.float64)
    return (p * np.log(np.maximum(p, LEAST_PROBABILITY))).sum(axis=1)


def modified_entropy(probabilities: Floats, target: Integers) -> Floats:
    """Return the negative modified entropy, which falls as the true class becomes more probable.

    (1 - p_y) log p_y + Σ over i ≠ y of p_i log(1 - p_i); Song and Mittal 2021.
    """
    of_target, others = _split(probabilities, target)
    of_others = others * np.log(np.maximum(1.0 - others, LEAST_PROBABILITY))
    return others.sum(axis=1) * np.log(of_target) + of_others.sum(axis=1)


def scaled_confidence(probabilities: Floats, target: Integers) -> Floats:
    """Return log(p_y / (1 - p_y)), in which a model's confidences are nearly Gaussian.

    Carlini et al., Membership Inference Attacks From First Principles, IEEE S&P 2022. 1 - p_y is
    the sum of the other probabilities, which keeps its digits where p_y has been rounded to 1.
    """
    of_target, others = _split(probabilities, target)
    return np.log(of_target) - np.log(np.maximum(others.sum(axis=1), LEAST_PROBABILITY))


def _split(probabilities: Floats, target: Integers) -> tuple[Floats, Floats]:
    """Return the probability of the true class, (n,), and those of the others, 0 in its place."""
    others = probabilities.astype(np.float64)
    rows = np.arange(len(target))
    of_target = np.maximum(others[rows, target], LEAST_PROBABILITY)
    others[rows, target] = 0.0
    return of_target, others


@dataclass(frozen=True)
class Score:
    """One entry of the registry.

    Attributes:
        function: From probabilities (n, classes) and targets (n,) to scores (n,).
        description: What it is, for tables.
    """

    function: Callable[[Floats, Integers], Floats]
    description: str


SCORES: dict[str, Score] = {
    "confidence": Score(confidence, "probability of the true class; ranks as the loss does"),
    "entropy": Score(entropy, "negative entropy of the prediction, without the true class"),
    "modified-entropy": Score(modified_entropy, "negative entropy, aware of the true class"),
}

PAPER_DESCRIPTION = (
    "the paper's attack: best balanced accuracy over all thresholds on the probability of the true "
    "class. The threshold is chosen on the very samples it is scored on, so that it exceeds 50 % "
    "where nothing leaks; members are the first 2 of every 50 images only"
)


def paper_members(members: int) -> Integers:
    """Return the positions of the members that the paper's attack looks at: 2 of every 50.

    Args:
        members: Number of training images, in the order of classes and of file names within them.
    """
    positions = np.arange(members)
    return positions[positions % PAPER_BATCH < PAPER_FIRST]


def paper_attack(members: Floats, nonmembers: Floats) -> float:
    """Return the accuracy of the attack that the paper's release defines.

    From ``eval_mi_attack.py`` of LeavesLei/Caption_in_Prompt: scores are sorted, and the best of
    (TPR + TNR) / 2 is taken over the thresholds before each of them.

    Its flaw: the threshold is chosen on the samples that are then scored. Without any leak it is
    above 1/2, by the more the fewer samples there are (``roc.best_accuracy_without_leak``): 58 %
    for 16 members and 400 non-members, 50.2 % for the paper's 51,248 and 50,000. It says neither
    how sure it is nor what happens at few false alarms.

    The release leaves the order of equal scores to numpy's unstable sort, and thresholds may fall
    between them; here the sort is stable, members first, so none does to the attack's advantage,
    and the result is that of real thresholds.

    Args:
        members: Probability of the true class, of the images at ``paper_members``.
        nonmembers: The same of the evaluation images.
    """
    is_member = np.arange(len(members) + len(nonmembers)) < len(members)
    called = is_member[np.argsort(np.concatenate([members, nonmembers]), kind="stable")]
    true_positives = len(members) - np.append(0, np.cumsum(called))[:-1]
    true_negatives = np.append(0, np.cumsum(~called))[:-1]
    accuracy = 0.5 * (true_positives / len(members) + true_negatives / len(nonmembers))
    return float(accuracy.max())

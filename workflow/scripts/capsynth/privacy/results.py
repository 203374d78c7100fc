"""Results about privacy as tidy tables: of attacks, of their ROC curves, of leakage."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from capsynth.privacy import roc
from capsynth.privacy.membership import CURVE_FPRS, WITHOUT_LEAK, Attack


@dataclass(frozen=True, order=True)
class AttackScore:
    """One row of privacy.csv.

    Attributes:
        dataset: Name of the dataset.
        training_set: Name of the training set.
        recipe: Name of the recipe.
        member_definition: Who the members are, see ``membership``.
        attack: Name of the attack.
        metric: One of ``roc.METRICS``, or what ``best_accuracy`` is where nothing leaks.
        value: Mean over the attacked models; None where non-members are too few to tell.
        ci_low: Lower bound of its 95 % interval.
        ci_high: Upper bound of its 95 % interval.
        members: Number of members.
        nonmembers: Number of non-members.
        seeds: Number of attacked models, which differ in their training seed.
    """

    dataset: str
    training_set: str
    recipe: str
    member_definition: str
    attack: str
    metric: str
    value: float | None
    ci_low: float | None
    ci_high: float | None
    members: int
    nonmembers: int
    seeds: int


@dataclass(frozen=True, order=True)
class CurvePoint:
    """One row of privacy-roc.csv: a point of the ROC curve of an attack on one model.

    Attributes:
        dataset: Name of the dataset.
        training_set: Name of the training set.
        recipe: Name of the recipe.
        member_definition: Who the members are.
        attack: Name of the attack.
        model: Number of the attacked model, from 0.
        fpr: False-positive rate.
        tpr: Highest true-positive rate of a threshold with at most that rate.
    """

    dataset: str
    training_set: str
    recipe: str
    member_definition: str
    attack: str
    model: int
    fpr: float
    tpr: float


@dataclass(frozen=True, order=True)
class Leakage:
    """One row of leakage.csv.

    Attributes:
        dataset: Name of the dataset.
        variant: Name of the variant; ``real`` for what the real images have among themselves.
        space: What images are compared by: a feature extractor, ``pixels`` or ``hash``.
        metric: What is measured; after a slash, which real images an image is compared with.
        value: The metric.
        ci_low: Lower bound of its 95 % interval; None for what is no estimate.
        ci_high: Upper bound of its 95 % interval.
        n: Images that it is measured of.
    """

    dataset: str
    variant: str
    space: str
    metric: str
    value: float
    ci_low: float | None
    ci_high: float | None
    n: int


def rows_of(
    dataset: str, training_set: str, recipe: str, found: Sequence[Attack]
) -> tuple[list[AttackScore], list[CurvePoint]]:
    """Return the rows of the attacks on one training set and recipe."""
    scores, points = [], []
    for attack in found:
        name = (dataset, training_set, recipe, attack.definition, attack.name)
        counts = (attack.members, attack.nonmembers, attack.models)
        chance = roc.best_accuracy_without_leak(attack.members, attack.nonmembers)
        scores.append(AttackScore(*name, WITHOUT_LEAK, chance, None, None, *counts))
        measured = zip(
            roc.METRICS, attack.found.values, attack.found.low, attack.found.high, strict=True
        )
        for metric, *numbers in measured:
            # The paper's attack is one number.
            if attack.name != "paper" or metric == "best_accuracy":
                value, low, high = (None if math.isnan(x) else float(x) for x in numbers)
                scores.append(AttackScore(*name, metric, value, low, high, *counts))
        for model, curve in enumerate(attack.curves):
            points += [
                CurvePoint(*name, model, float(fpr), float(tpr))
                for fpr, tpr in zip(CURVE_FPRS, curve, strict=True)
                if not np.isnan(tpr)
            ]
    return scores, points

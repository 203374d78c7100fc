"""Chance level of evaluation sets, from the sizes of their classes."""

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.metrics import top_k_accuracy_score

from capsynth.reporting.chance import ChanceLevels, chance_levels
from capsynth.reporting.scores import Score, index_scores

SIZES = {"bat": 40, "car": 25, "dog": 15, "fish": 10, "tree": 5, "house": 3, "mouse": 2}


def score(metric: str, low: float | None, high: float | None, n: int = 100) -> Score:
    return Score("toy", "real", "tiny", None, "val", metric, 0.5, low, high, n)


def levels(*more: Score) -> ChanceLevels:
    sizes = [score(f"top1/{name}", 0.0, 1.0, n) for name, n in SIZES.items()]
    return chance_levels(index_scores([*sizes, *more]))


def test_chance_is_what_the_best_answer_that_ignores_the_image_gets_right() -> None:
    targets = np.repeat(np.arange(len(SIZES)), list(SIZES.values()))
    blind = np.zeros((len(targets), 1))
    theirs = DummyClassifier(strategy="prior").fit(blind, targets)
    assert levels().top("toy", "val") == pytest.approx(theirs.score(blind, targets), abs=1e-6)
    five = top_k_accuracy_score(targets, theirs.predict_proba(blind), k=5)
    assert levels().top("toy", "val", 5) == pytest.approx(five, abs=1e-6)
    assert levels().top("toy", "other") is None


@pytest.mark.parametrize(
    ("metric", "chance"),
    [
        ("top1", 0.4),
        ("top5", 0.95),
        ("top1/bat", 1 / 7),
        ("top1/jpeg", 0.4),
        ("error/jpeg-3", 0.6),
        ("mean_error", 0.6),
        ("ece", None),
    ],
)
def test_every_accuracy_and_error_has_its_level(metric: str, chance: float | None) -> None:
    # All 100 images under a corruption: it is no class, and counts for none.
    corrupted = [score("top1/jpeg", 0.0, 1.0, 500), score("error/jpeg-3", 0.0, 1.0, 100)]
    found = levels(*corrupted).of(score(metric, 0.0, 1.0))
    assert found == (None if chance is None else pytest.approx(chance, abs=1e-6))


@pytest.mark.parametrize(
    ("metric", "low", "high", "reached"),
    [
        ("top1", 0.4, 0.6, True),
        ("top1", 0.4001, 0.6, False),
        ("top1", 0.1, 0.2, True),
        ("top1", None, None, True),
        ("top1/bat", 0.15, 0.6, False),
        ("error/jpeg-3", 0.4, 0.6, True),
        ("error/jpeg-3", 0.4, 0.59, False),
        ("ece", 0.0, 0.9, False),
    ],
)
def test_an_interval_that_reaches_chance_is_not_clearly_above_it(
    metric: str, low: float | None, high: float | None, reached: bool
) -> None:
    corrupted = score("error/jpeg-3", 0.0, 1.0, 100)
    assert levels(corrupted).reached_by(score(metric, low, high)) is reached


def test_where_the_classes_are_not_known_nothing_is_at_chance() -> None:
    nothing = chance_levels(index_scores([]))
    assert not nothing.reached_by(score("top1", 0.0, 1.0))

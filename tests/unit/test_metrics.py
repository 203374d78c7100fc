import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, precision_score, recall_score

from capsynth import metrics
from capsynth.errors import CapsynthError


def random_run(
    seed: int, n: int = 60, classes: int = 8
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(classes, 0.4), size=n).astype(np.float32)
    return probabilities, probabilities.argmax(axis=1), rng.integers(classes, size=n)


def value(name: str, scores: metrics.SampleScores) -> float:
    return float(metrics.METRICS[name].function(scores, np.ones((1, len(scores))))[0])


@given(st.integers(0, 2**32 - 1))
def test_top1_top5_and_nll_agree_with_a_naive_loop(seed: int) -> None:
    probabilities, prediction, target = random_run(seed)
    right = right5 = 0
    surprise = 0.0
    for row, guess, true in zip(probabilities.tolist(), prediction, target, strict=True):
        right += guess == true
        right5 += true in sorted(range(len(row)), key=lambda c: -row[c])[:5]
        surprise -= math.log(max(row[true], 1.1754943508222875e-38))
    scores = metrics.score_samples(probabilities, prediction, target)
    assert value("top1", scores) == pytest.approx(right / 60)
    assert value("top5", scores) == pytest.approx(right5 / 60)
    assert value("nll", scores) == pytest.approx(surprise / 60, rel=1e-5)


@given(st.integers(0, 2**32 - 1))
def test_ece_agrees_with_a_naive_loop_over_bins(seed: int) -> None:
    probabilities, prediction, target = random_run(seed)
    confidence = probabilities.max(axis=1).astype(float)
    expected = 0.0
    for b in range(15):
        inside = [i for i in range(60) if b / 15 < confidence[i] <= (b + 1) / 15]
        if inside:
            accuracy = sum(prediction[i] == target[i] for i in inside) / len(inside)
            mean = sum(confidence[i] for i in inside) / len(inside)
            expected += len(inside) / 60 * abs(accuracy - mean)
    scores = metrics.score_samples(probabilities, prediction, target)
    assert value("ece", scores) == pytest.approx(expected, abs=1e-9)


def test_a_confident_and_right_classifier_is_perfect_by_every_metric() -> None:
    target = np.arange(8)
    scores = metrics.score_samples(np.eye(8, dtype=np.float32), target, target)
    assert {name: value(name, scores) for name in metrics.METRICS} == {
        "top1": 1.0,
        "top5": 1.0,
        "nll": 0.0,
        "brier": 0.0,
        "ece": 0.0,
        "adaptive_ece": 0.0,
        "adaptive_ece_shared": 0.0,
        "balanced_accuracy": 1.0,
        "macro_precision": 1.0,
        "worst_class": 1.0,
    }


def test_a_probability_of_zero_gives_a_finite_likelihood() -> None:
    probabilities = np.array([[1.0, 0.0]], dtype=np.float32)
    scores = metrics.score_samples(probabilities, np.array([0]), np.array([1]))
    assert value("nll", scores) == pytest.approx(87.3365, abs=1e-3)


def test_equal_probabilities_rank_in_class_order() -> None:
    probabilities = np.full((7, 7), 1 / 7, dtype=np.float32)
    scores = metrics.score_samples(probabilities, np.zeros(7, int), np.arange(7))
    assert scores.correct_top5.tolist() == [True] * 5 + [False] * 2


# Draws of adaptive_ece have the bins of all samples.
@pytest.mark.parametrize("name", [name for name in metrics.METRICS if name != "adaptive_ece"])
def test_a_weight_of_two_is_the_same_sample_twice(name: str) -> None:
    probabilities, prediction, target = random_run(3)
    scores = metrics.score_samples(probabilities, prediction, target)
    counts = np.random.default_rng(4).integers(0, 3, size=60)
    weighted = metrics.METRICS[name].function(scores, counts[None].astype(float))[0]
    assert weighted == pytest.approx(value(name, scores.take(np.repeat(np.arange(60), counts))))


def test_a_target_that_is_no_class_is_refused() -> None:
    with pytest.raises(CapsynthError, match=r"targets lie in 0\.\.2, classes in 0\.\.1"):
        metrics.score_samples(np.full((2, 2), 0.5), np.array([0, 0]), np.array([0, 2]))


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_metrics_of_classes_are_those_of_scikit_learn(seed: int, few: bool) -> None:
    probabilities, prediction, target = random_run(seed, n=12 if few else 60)
    scores = metrics.score_samples(probabilities, prediction, target)
    sums = metrics.class_sums(scores, np.ones((1, len(scores))))
    # A class that is never predicted, or has no sample, counts 0.
    about = {"labels": range(8), "average": None, "zero_division": 0}
    precision = precision_score(target, prediction, **about)
    recall = recall_score(target, prediction, **about)
    present = np.unique(target)
    assert sums.precision[0] == pytest.approx(precision, abs=1e-12)
    assert sums.recall[0] == pytest.approx(recall, abs=1e-12)
    assert value("macro_precision", scores) == pytest.approx(precision[present].mean())
    assert value("worst_class", scores) == pytest.approx(recall[present].min())
    assert value("balanced_accuracy", scores) == pytest.approx(
        balanced_accuracy_score(target, prediction)
    )
    one = metrics.precision_of(3).function(scores, np.ones((1, len(scores))))
    assert one[0] == pytest.approx(precision[3])


def test_blocks_of_draws_give_what_one_draw_after_another_gives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scores = metrics.score_samples(*random_run(5))
    weights = np.random.default_rng(6).integers(0, 3, size=(7, 60)).astype(float)
    monkeypatch.setattr(metrics, "PER_BLOCK", 120)  # two draws at once
    sums = metrics.class_sums(scores, weights)
    for place, draw in enumerate(weights):
        of_classes = np.bincount(scores.prediction, draw, minlength=8)
        assert sums.of_prediction[place] == pytest.approx(of_classes)

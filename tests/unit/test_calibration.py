import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, special
from sklearn.calibration import _TemperatureScaling, calibration_curve
from sklearn.metrics import brier_score_loss, log_loss
from torchmetrics.functional.classification import (
    binary_calibration_error,
    multiclass_calibration_error,
)

from capsynth import calibration, metrics
from capsynth.errors import CapsynthError

SEEDS = st.integers(0, 2**32 - 1)
CLOSE = 1e-6


def random_run(seed: int, n: int = 60, classes: int = 8) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    logits = 2.0 * rng.normal(size=(n, classes))
    target = rng.integers(classes, size=n)
    logits[np.arange(n), target] += 1.0
    return special.softmax(logits, axis=1), target


def tied(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Fifths of ten: ties, confidences on the edges of 15 bins, one class never the target."""
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(5, rng.dirichlet(np.full(4, 0.3), size=50))
    return counts / 5.0, rng.integers(3, size=50)


AWKWARD = {
    "random": random_run(1),
    "ties on the edges of bins, one class missing": tied(2),
    "fewer samples than bins": random_run(3, n=5),
    "one sample": random_run(4, n=1),
    "two classes": random_run(5, classes=2),
    "many classes": random_run(6, n=300, classes=100),
}
runs = pytest.mark.parametrize(("probabilities", "target"), AWKWARD.values(), ids=AWKWARD)


def measured(name: str, probabilities: np.ndarray, target: np.ndarray) -> float:
    scores = metrics.score_samples(probabilities, probabilities.argmax(axis=1), target)
    return float(metrics.METRICS[name].function(scores, np.ones((1, len(scores))))[0])


def below_edges(probabilities: np.ndarray) -> np.ndarray:
    """Move probabilities down by less than counts, to the side of an edge that (low, high] has."""
    return np.clip(probabilities - 1e-12, 0.0, 1.0)


@runs
def test_ece_agrees_with_torchmetrics_but_for_the_side_that_an_edge_belongs_to(
    probabilities: np.ndarray, target: np.ndarray
) -> None:
    theirs = multiclass_calibration_error(
        torch.from_numpy(below_edges(probabilities)), torch.from_numpy(target),
        num_classes=probabilities.shape[1], n_bins=15,
    )  # fmt: skip
    assert measured("ece", probabilities, target) == pytest.approx(float(theirs), rel=CLOSE)


@runs
def test_reliability_agrees_with_scikit_learn(
    probabilities: np.ndarray, target: np.ndarray
) -> None:
    scores = metrics.score_samples(probabilities, probabilities.argmax(axis=1), target)
    found = calibration.reliability(scores, np.ones((1, len(scores))))
    accuracy, confidence = calibration_curve(scores.correct, scores.confidence, n_bins=15)
    filled = found.share[0] > 0
    assert found.accuracy[0, filled] == pytest.approx(accuracy, rel=CLOSE)
    assert found.confidence[0, filled] == pytest.approx(confidence, rel=CLOSE)
    assert np.isnan(found.accuracy[0, ~filled]).all()
    gaps = np.abs(found.accuracy - found.confidence)[0, filled]
    assert (found.share[0, filled] * gaps).sum() == pytest.approx(
        measured("ece", probabilities, target), rel=CLOSE
    )


@runs
def test_brier_and_nll_agree_with_scikit_learn(
    probabilities: np.ndarray, target: np.ndarray
) -> None:
    labels = range(probabilities.shape[1])
    theirs = brier_score_loss(target, probabilities, labels=labels, scale_by_half=False)
    assert measured("brier", probabilities, target) == pytest.approx(theirs, rel=CLOSE)
    if probabilities.min() > 0.0:  # scikit-learn bounds probabilities elsewhere than at 1.2e-38
        theirs = log_loss(target, probabilities, labels=labels)
        assert measured("nll", probabilities, target) == pytest.approx(theirs, rel=CLOSE)


@settings(max_examples=20)
@given(SEEDS)
def test_adaptive_ece_is_scikit_learns_where_bins_divide_samples_without_ties(seed: int) -> None:
    probabilities, target = random_run(seed, n=90)
    confidence = probabilities.max(axis=1)
    accuracy, mean = calibration_curve(
        probabilities.argmax(axis=1) == target, confidence, n_bins=15, strategy="quantile"
    )
    expected = np.abs(accuracy - mean).mean()
    for name in ("adaptive_ece", "adaptive_ece_shared"):
        assert measured(name, probabilities, target) == pytest.approx(expected, rel=CLOSE)


@runs
def test_adaptive_ece_is_that_of_a_loop_over_whole_samples(
    probabilities: np.ndarray, target: np.ndarray
) -> None:
    # Sizes as of 100 samples in 15 bins: ten of 7, five of 6.
    ranked = sorted(range(len(target)), key=lambda i: probabilities[i].max())
    size, more = divmod(len(target), 15)
    start, expected = 0, 0.0
    for place in range(15):
        rows = ranked[start : start + size + (place < more)]
        start += len(rows)
        right = sum(probabilities[i].argmax() == target[i] for i in rows)
        expected += abs(right - sum(float(probabilities[i].max()) for i in rows)) / len(target)
    assert start == len(target)
    assert measured("adaptive_ece", probabilities, target) == pytest.approx(expected, rel=CLOSE)


@runs
def test_shared_adaptive_ece_is_that_of_15_copies_of_each_sample_in_15_equal_bins(
    probabilities: np.ndarray, target: np.ndarray
) -> None:
    confidence = probabilities.max(axis=1)
    right = (probabilities.argmax(axis=1) == target).astype(float)
    by_confidence = [right[confidence == value].mean() for value in confidence]
    order = np.argsort(confidence)
    gaps = np.repeat((np.array(by_confidence) - confidence)[order], 15).reshape(15, -1)
    expected = np.abs(gaps.mean(axis=1)).mean()
    assert measured("adaptive_ece_shared", probabilities, target) == pytest.approx(
        expected, rel=CLOSE
    )


@runs
def test_classwise_ece_is_the_mean_of_torchmetrics_binary_errors(
    probabilities: np.ndarray, target: np.ndarray
) -> None:
    theirs = [
        float(
            binary_calibration_error(
                torch.tensor(of_class), torch.from_numpy(target == index).int(), n_bins=15
            )
        )
        for index, of_class in enumerate(below_edges(probabilities).T)
    ]
    ours = calibration.classwise_ece(probabilities, target)(np.ones((1, len(target))))
    assert ours[0] == pytest.approx(np.mean(theirs), rel=CLOSE)


def test_a_weight_of_two_is_the_same_sample_twice_for_classwise_ece_and_reliability() -> None:
    probabilities, target = random_run(3)
    counts = np.random.default_rng(4).integers(0, 3, size=60)
    rows = np.repeat(np.arange(60), counts)
    ones = np.ones((1, len(rows)))
    weights = counts[None].astype(float)
    assert calibration.classwise_ece(probabilities, target)(weights) == pytest.approx(
        calibration.classwise_ece(probabilities[rows], target[rows])(ones)
    )
    scores = metrics.score_samples(probabilities, probabilities.argmax(axis=1), target)
    weighted = calibration.reliability(scores, weights)
    repeated = calibration.reliability(scores.take(rows), ones)
    for name in ("share", "accuracy", "confidence"):
        assert getattr(weighted, name) == pytest.approx(getattr(repeated, name), nan_ok=True)


@pytest.mark.parametrize("seed", range(5))
def test_the_temperature_agrees_with_two_independent_fits(seed: int) -> None:
    probabilities, target = random_run(seed, n=200)
    found = calibration.fit_temperature(probabilities, target)
    logits = np.log(probabilities)

    def loss(log_temperature: float) -> float:
        scaled = special.softmax(logits / np.exp(log_temperature), axis=1)
        return log_loss(target, scaled, labels=range(8))

    least = optimize.minimize_scalar(loss, bounds=(-3, 3), options={"xatol": 1e-9})
    # A minimum is known to the root of the precision of its function.
    assert found == pytest.approx(np.exp(least.x), rel=1e-5)
    assert loss(np.log(found)) <= least.fun * (1 + 1e-12)
    theirs = 1.0 / _TemperatureScaling().fit(logits, target).beta_
    assert loss(np.log(found)) == pytest.approx(loss(np.log(theirs)), rel=CLOSE)


@settings(max_examples=20)
@given(SEEDS, st.floats(0.5, 3.0))
def test_scaled_probabilities_have_the_temperature_that_undoes_it(
    seed: int, temperature: float
) -> None:
    probabilities, target = random_run(seed, n=200)
    before = calibration.fit_temperature(probabilities, target)
    scaled = calibration.scale(probabilities, temperature)
    assert scaled.argmax(axis=1).tolist() == probabilities.argmax(axis=1).tolist()
    after = calibration.fit_temperature(scaled, target)
    assert after * temperature == pytest.approx(before, rel=1e-5)


def test_single_precision_probabilities_give_the_temperature_of_the_logits() -> None:
    rng = np.random.default_rng(0)
    logits = 30.0 * rng.normal(size=(500, 10))
    target = (logits / 20.0 + rng.gumbel(size=logits.shape)).argmax(axis=1)
    exact = calibration.fit_temperature(special.softmax(logits, axis=1), target)
    stored = torch.from_numpy(logits).float().softmax(dim=1).numpy()
    assert (stored == 0.0).any()  # some have underflowed
    assert calibration.fit_temperature(stored, target) == pytest.approx(exact, rel=0.01)
    assert exact == pytest.approx(20.0, rel=0.15)


def test_a_fit_without_a_minimum_ends_at_a_bound() -> None:
    probabilities = np.array([[0.8, 0.2], [0.3, 0.7]])
    assert calibration.fit_temperature(probabilities, np.array([0, 1])) == 0.05
    assert calibration.fit_temperature(probabilities, np.array([1, 0])) == 20.0


def test_no_held_out_sample_is_refused() -> None:
    with pytest.raises(CapsynthError, match="hold out"):
        calibration.fit_temperature(np.ones((0, 2)), np.ones(0, dtype=int))


def test_a_refit_is_close_to_a_fit_to_the_drawn_samples_and_exact_without_a_draw() -> None:
    probabilities, target = random_run(7, n=400)
    temperature = calibration.fit_temperature(probabilities, target)
    draws = np.random.default_rng(0).multinomial(400, np.full(400, 1 / 400), size=40)
    found = calibration.refit_temperature(probabilities, target, temperature, [draws])
    drawn = [np.repeat(np.arange(400), counts) for counts in draws]
    exact = [calibration.fit_temperature(probabilities[rows], target[rows]) for rows in drawn]
    assert np.corrcoef(found, exact)[0, 1] > 0.99
    assert found.std() == pytest.approx(np.std(exact), rel=0.1)
    alone = calibration.refit_temperature(probabilities, target, temperature, [np.ones((1, 400))])
    assert alone[0] == pytest.approx(temperature, rel=1e-6)


def test_a_fit_at_an_end_of_the_temperatures_stays_there() -> None:
    probabilities, _ = random_run(8)
    target = probabilities.argmax(axis=1)
    coldest = calibration.fit_temperature(probabilities, target)
    found = calibration.refit_temperature(
        probabilities, target, coldest, [np.ones((2, len(target)))]
    )
    assert found.tolist() == [coldest, coldest] == [calibration.TEMPERATURES[0]] * 2

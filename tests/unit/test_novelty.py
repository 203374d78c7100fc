"""AUROC, FPR95 and AUPR against scikit-learn, torchmetrics and a loop over thresholds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from capsynth import novelty


def two_sets(seed: int, rounded: bool) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    inside, outside = rng.integers(1, 80, size=2)
    sets = (rng.normal(1.0, 1.0, size=inside), rng.normal(0.0, 1.0, size=outside))
    return (sets[0].round(1), sets[1].round(1)) if rounded else sets


def metrics_of(inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
    ones = (np.ones((1, len(inside))), np.ones((1, len(outside))))
    return novelty.Separation.of(inside, outside).metrics(*ones)[0]


@given(st.integers(0, 2**32 - 1), st.booleans())
def test_auroc_is_that_of_scikit_learn_ties_counted_half(seed: int, rounded: bool) -> None:
    inside, outside = two_sets(seed, rounded)
    is_inside = np.repeat([1, 0], [len(inside), len(outside)])
    expected = roc_auc_score(is_inside, np.concatenate([inside, outside]))
    assert metrics_of(inside, outside)[0] == pytest.approx(expected, abs=1e-12)


@given(st.integers(0, 2**32 - 1), st.booleans())
def test_fpr95_is_that_of_the_highest_threshold_that_accepts_enough(
    seed: int, rounded: bool
) -> None:
    inside, outside = two_sets(seed, rounded)
    thresholds = [t for t in inside if np.mean(inside >= t) >= 0.95]
    expected = np.mean(outside >= max(thresholds))
    found = metrics_of(inside, outside)[1]
    assert found == pytest.approx(expected, abs=1e-12)
    is_inside = np.repeat([1, 0], [len(inside), len(outside)])
    false, true, _ = roc_curve(
        is_inside, np.concatenate([inside, outside]), drop_intermediate=False
    )
    assert found == pytest.approx(false[np.flatnonzero(true >= 0.95)[0]], abs=1e-12)


def test_twenty_images_of_which_one_may_be_refused() -> None:
    inside = np.arange(20.0)
    # The threshold is 1: 19 of 20 are accepted, and of the others those that are not below 1.
    assert metrics_of(inside, np.array([0.5, 1.0, 0.0, 30.0]))[1] == 0.5


def test_equal_scores_know_nothing_and_all_are_accepted() -> None:
    chance = [0.5, 1.0, 30 / 37, 7 / 37]
    assert metrics_of(np.ones(30), np.ones(7)) == pytest.approx(chance, abs=1e-12)
    # Without ties 95 % of the unknown ones are accepted, the expected share of 2,000 in step.
    expected = list(novelty.chance_of(30, 7).values())
    assert expected == pytest.approx([0.5, 0.95, 30 / 37, 7 / 37], abs=1e-12)


@given(st.integers(0, 2**32 - 1), st.booleans())
def test_aupr_is_the_average_precision_of_scikit_learn_and_torchmetrics_either_way(
    seed: int, rounded: bool
) -> None:
    torch = pytest.importorskip("torch")
    theirs = pytest.importorskip("torchmetrics.functional.classification")
    inside, outside = two_sets(seed, rounded)
    scores = np.concatenate([inside, outside])
    is_inside = np.repeat([1, 0], [len(inside), len(outside)])
    found = metrics_of(inside, outside)[2:]
    # torchmetrics takes scores outside of [0, 1] for logits: their order as shares of their number.
    ranks = np.unique(scores, return_inverse=True)[1] / (len(scores) + 1)
    for mine, sign in zip(found, (1, -1), strict=True):
        positive = is_inside if sign == 1 else 1 - is_inside
        assert mine == pytest.approx(average_precision_score(positive, sign * scores), abs=1e-12)
        order = ranks if sign == 1 else 1 - ranks
        other = theirs.binary_average_precision(torch.tensor(order), torch.tensor(positive))
        assert mine == pytest.approx(float(other), abs=1e-6)


def test_aupr_by_hand() -> None:
    # Descending: in 4, out 3, in 2 and out 2, in 1. Positives in: 1/1, 2/4, 3/5.
    found = metrics_of(np.array([1.0, 2.0, 4.0]), np.array([2.0, 3.0]))
    assert found[2] == pytest.approx((1 + 2 / 4 + 3 / 5) / 3, abs=1e-12)
    # Ascending: in 1, out 2 and in 2, out 3, in 4. Positives out: 1/3, 2/4.
    assert found[3] == pytest.approx((1 / 3 + 2 / 4) / 2, abs=1e-12)


def test_after_a_perfect_ranking_the_bounds_are_those_of_the_errors_that_may_have_been_missed() -> (
    None
):
    found = novelty.least_after_perfect(40, 30, 0.025)
    few, many = 1 - 0.025 ** (1 / 30), 1 - 0.025 ** (1 / 40)
    assert found["auroc"] == pytest.approx(1 - few, abs=1e-12)
    for name, (n, m, missed, negatives) in {
        "aupr_in": (40, 30, many, few),
        "aupr_out": (30, 40, few, many),
    }.items():
        above = integrate.quad(lambda u, n=n, m=m, q=negatives: u * n / (u * n + q * m), 0, 1)[0]
        late = integrate.quad(lambda u, n=n, m=m: u * n / (u * n + m), 1 - missed, 1)[0]
        assert found[name] == pytest.approx(min(above, 1 - missed + late), abs=1e-6)


def test_weights_of_two_are_the_same_image_twice() -> None:
    inside, outside = two_sets(4, True)
    rng = np.random.default_rng(5)
    counts = [rng.integers(0, 3, size=(4, len(scores))) for scores in (inside, outside)]
    found = novelty.Separation.of(inside, outside).metrics(*(c.astype(float) for c in counts))
    for draw in range(4):
        repeated = (np.repeat(inside, counts[0][draw]), np.repeat(outside, counts[1][draw]))
        assert found[draw] == pytest.approx(metrics_of(*repeated), abs=1e-12)


def test_blocks_of_different_sizes_are_put_in_step() -> None:
    rows = np.arange(10.0)[:, None]
    first, second = np.split(rows, [4, 8]), np.split(rows, [1, 7])
    pairs = list(novelty.in_step(first, second))
    assert all(np.array_equal(a, b) for a, b in pairs)
    assert np.concatenate([a for a, _ in pairs]).ravel().tolist() == rows.ravel().tolist()

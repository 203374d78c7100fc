import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from capsynth import statistics
from capsynth.errors import CapsynthError

P_VALUES = st.lists(st.floats(0, 1), max_size=30)


def weights(strata: list[str], sources: list[str], draws: int, seed: int) -> np.ndarray:
    design = statistics.image_design(strata, sources)
    return np.concatenate(list(statistics.image_weights(design, draws, seed)))


@given(st.lists(st.integers(-3, 3), max_size=9))
def test_the_sign_flip_test_agrees_with_all_sign_patterns(differences: list[int]) -> None:
    sums = [
        sum(sign * d for sign, d in zip(signs, differences, strict=True))
        for signs in itertools.product((-1, 1), repeat=len(differences))
    ]
    expected = np.mean([abs(s) >= abs(sum(differences)) for s in sums])
    assert statistics.sign_flip_p_value(differences) == pytest.approx(expected)


def test_the_sign_flip_test_of_single_answers_is_the_exact_mcnemar_test() -> None:
    # 15 images only one side got right, 5 only the other: twice the binomial tail P(X <= 5).
    differences = [1] * 15 + [-1] * 5 + [0] * 80
    assert statistics.sign_flip_p_value(differences) == pytest.approx(0.04138947)


@given(P_VALUES)
def test_holm_agrees_with_its_definition(p_values: list[float]) -> None:
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    expected = [0.0] * len(p_values)
    largest = 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        expected[i] = largest
    assert statistics.holm(p_values).tolist() == pytest.approx(expected)


@given(P_VALUES)
def test_holm_lies_between_the_p_values_and_bonferroni_and_keeps_their_order(
    p_values: list[float],
) -> None:
    corrected = statistics.holm(p_values)
    p = np.array(p_values)
    assert (corrected >= p).all()
    assert (corrected <= np.minimum(1.0, p * len(p)) + 1e-12).all()
    assert (np.diff(corrected[np.argsort(p, kind="stable")]) >= 0).all()


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=40), st.integers(0, 2**32))
def test_every_draw_keeps_the_number_of_samples_of_each_class(strata: list[str], seed: int) -> None:
    drawn = weights(strata, [str(i) for i in range(len(strata))], 20, seed)
    for stratum in set(strata):
        rows = [i for i, s in enumerate(strata) if s == stratum]
        assert drawn[:, rows].sum(axis=1) == pytest.approx(len(rows))


@given(st.lists(st.floats(0, 1), min_size=2, max_size=40), st.integers(0, 2**32))
def test_bootstrap_bounds_are_ordered_and_lie_within_the_values(
    values: list[float], seed: int
) -> None:
    n = len(values)
    drawn = weights(["a"] * n, [str(i) for i in range(n)], 50, seed)
    low, high = statistics.interval(drawn @ np.array([values]).T / n)
    assert min(values) - 1e-9 <= low[0] <= high[0] <= max(values) + 1e-9


def test_samples_of_one_source_are_drawn_together() -> None:
    drawn = weights(["a"] * 12, [str(i // 3) for i in range(12)], 30, 0)
    by_source = drawn.reshape(30, 4, 3)
    assert (by_source == by_source[:, :, :1]).all()
    assert len(np.unique(by_source)) > 1


def test_the_variance_of_a_mean_over_replicates_is_that_of_theory() -> None:
    values = np.random.default_rng(1).normal(size=5)
    drawn = weights(["a"] * 5, list("abcde"), 40_000, 2)
    assert (drawn @ values / 5).var() == pytest.approx(values.var(ddof=1) / 5, rel=0.03)
    chosen = statistics.seed_draws(5, 40_000, 3)
    by_seed = np.repeat(values[:, None, None], 40_000, axis=1)
    over = statistics.over_seeds(by_seed, chosen)
    assert over.var() == pytest.approx(values.var(ddof=1) / 5, rel=0.03)


def test_a_single_image_or_seed_adds_no_variance() -> None:
    assert (weights(["a", "b"], ["x", "y"], 10, 0) == 1.0).all()
    assert (statistics.seed_draws(1, 10, 0) == 0).all()


def test_blocks_of_draws_are_small_and_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "WEIGHTS_PER_BLOCK", 30)
    design = statistics.image_design(["a"] * 10, [str(i) for i in range(10)])
    blocks = list(statistics.image_weights(design, 8, 0))
    assert [block.shape for block in blocks] == [(3, 10), (3, 10), (2, 10)]


def test_the_same_seed_gives_the_same_draws() -> None:
    first, second, other = (weights(["a"] * 9, list("abcdefghi"), 5, seed) for seed in (1, 1, 2))
    assert (first == second).all()
    assert (first != other).any()


def test_no_draws_are_refused() -> None:
    with pytest.raises(CapsynthError, match="0 bootstrap draws"):
        weights(["a"], ["x"], 0, 0)


def test_intervals_over_seeds_and_images_cover_the_truth_about_as_often_as_they_say() -> None:
    # 5 seeds and 200 images of 4 classes; seeds shift the logit, images differ in difficulty.
    rng = np.random.default_rng(11)
    truth = float(np.mean(1 / (1 + np.exp(-1 - rng.normal(0, np.hypot(1.0, 0.3), 400_000)))))
    strata, names = [str(i % 4) for i in range(200)], [str(i) for i in range(200)]
    covered = 0
    for repetition in range(200):
        logits = 1 + rng.normal(0, 1, 200)[None] + rng.normal(0, 0.3, 5)[:, None]
        right = rng.random((5, 200)) < 1 / (1 + np.exp(-logits))
        drawn = weights(strata, names, 200, repetition)
        replicates = np.stack([drawn @ run / 200 for run in right])[:, :, None]
        over = statistics.over_seeds(replicates, statistics.seed_draws(5, 200, 10**6 + repetition))
        low, high = statistics.interval(over)
        covered += low[0] <= truth <= high[0]
    assert 0.90 <= covered / 200 <= 0.995


def test_the_sign_flip_test_rarely_rejects_where_nothing_differs() -> None:
    rng = np.random.default_rng(5)
    rejected = 0
    for _ in range(300):
        differences = rng.integers(0, 4, size=100) - rng.integers(0, 4, size=100)
        rejected += statistics.sign_flip_p_value(differences) <= 0.05
    assert 0.01 <= rejected / 300 <= 0.08

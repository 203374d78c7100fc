"""The worst and the best of groups: what their intervals are made of, and how often they cover."""

import itertools
from functools import partial

import numpy as np
import pytest
from scipy import stats

from capsynth import minima, statistics


def answers(
    accuracies: np.ndarray, images: int, seeds: int, rng: np.random.Generator, draws: int = 200
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return values, replicates and degrees of freedom of groups whose images vary in ease."""
    shape = (len(accuracies), images)
    # Two thirds of the images are answered alike by all seeds.
    common = rng.random(shape)
    own = rng.random((seeds, *shape))
    luck = np.where(rng.random(shape) < 2 / 3, common, own)
    right = (luck < accuracies[:, None]).astype(float)
    n = np.full(images, 1 / images)
    weights = rng.multinomial(images - 1, n, size=(draws, len(accuracies))) / (images - 1)
    replicates = np.einsum("sgn,dgn->sdg", right, weights)
    return right.mean(axis=2), replicates, np.full(len(accuracies), images - 1)


def worst(values: np.ndarray, replicates: np.ndarray, df: np.ndarray) -> minima.Extreme:
    bounds = partial(minima.group_bounds, values, replicates, df)
    return minima.worst(values.mean(axis=0), bounds)


def gap(values: np.ndarray, replicates: np.ndarray, df: np.ndarray) -> minima.Extreme:
    bounds = partial(minima.group_bounds, values, replicates, df)
    return minima.gap(values.mean(axis=0), bounds)


def test_the_worst_is_the_minimum_of_means_over_seeds() -> None:
    values = np.array([[0.2, 0.8, 0.5], [0.8, 0.4, 0.5]])
    replicates = np.repeat(values[:, None], 5, axis=1)
    found = worst(values, replicates, np.full(3, 9))
    # Means 0.5, 0.6, 0.5; the mean of the minima of the seeds would be 0.3.
    assert (found.value, found.place) == (0.5, 0)


def test_without_variance_bounds_are_those_of_clopper_and_pearson() -> None:
    values = np.array([[1.0, 0.7, 0.0]])
    replicates = np.repeat(values[:, None], 5, axis=1)
    low, high = minima.group_bounds(values, replicates, np.full(3, 19), 0.025)
    for right, found in zip((20, 14, 0), zip(low, high, strict=True), strict=True):
        exact = stats.binomtest(right, 20).proportion_ci(0.95, method="exact")
        assert found == pytest.approx((exact.low, exact.high), abs=1e-9)


def test_no_bound_is_narrower_than_that_of_the_bootstrap_and_the_seeds() -> None:
    values, replicates, df = answers(np.array([0.5, 0.7]), 30, 2, np.random.default_rng(0))
    values[1] += [0.2, -0.2]  # seeds matter
    low, high = minima.group_bounds(values, replicates, df, 0.025)
    found = statistics.estimate(values, replicates, df)
    assert (low <= found.low.clip(0, 1) + 1e-12).all()
    assert (high >= found.high.clip(0, 1) - 1e-12).all()


def test_the_interval_is_from_the_least_lower_to_the_least_corrected_upper_bound() -> None:
    values, replicates, df = answers(np.linspace(0.4, 0.9, 5), 40, 3, np.random.default_rng(1))
    low, _ = minima.group_bounds(values, replicates, df, 0.025)
    _, high = minima.group_bounds(values, replicates, df, 0.025 / 5)
    found = worst(values, replicates, df)
    assert (found.low, found.high) == (low.min(), high.min())


def test_the_interval_of_the_worst_of_equal_groups_covers_and_that_of_the_draws_does_not() -> None:
    rng = np.random.default_rng(2)
    covered = naive = 0
    for _ in range(200):
        values, replicates, df = answers(np.full(10, 0.7), 40, 3, rng)
        found = worst(values, replicates, df)
        covered += found.low <= 0.7 <= found.high
        # What a bootstrap says that takes the worst group of every draw.
        low, high = np.quantile(replicates.mean(axis=0).min(axis=1), [0.025, 0.975])
        naive += low <= 0.7 <= high
    assert covered >= 190
    assert naive < 60


def test_the_gap_of_equal_groups_may_be_0_and_that_of_unequal_ones_may_not() -> None:
    rng = np.random.default_rng(3)
    gaps = [gap(*answers(np.full(4, 0.6), 50, 3, rng)) for _ in range(100)]
    assert sum(one.low == 0.0 for one in gaps) >= 95
    assert all(one.value > 0.0 for one in gaps)
    unequal = gap(*answers(np.array([0.95, 0.1, 0.5]), 200, 3, rng))
    assert 0.5 < unequal.low < 0.85 < unequal.high
    assert unequal.place == 1


@pytest.mark.parametrize(
    ("sizes", "share", "seeds"),
    [((3, 3), 0.5, 1), ((2, 4, 5), 1 / 3, 1), ((1, 2), 0.5, 3), ((6,), 0.25, 2)],
)
def test_guesses_show_the_expected_least_of_binomial_shares(
    sizes: tuple[int, ...], share: float, seeds: int
) -> None:
    answers = [seeds * size for size in sizes]
    expected = 0.0
    for right in itertools.product(*(range(n + 1) for n in answers)):
        chance = np.prod(
            [stats.binom.pmf(k, n, share) for k, n in zip(right, answers, strict=True)]
        )
        expected += chance * min(k / n for k, n in zip(right, answers, strict=True))
    found = minima.least_by_chance(sizes, share, seeds)
    assert found == pytest.approx(expected, abs=1e-12)
    assert found <= share + 1e-12


def test_the_least_by_chance_of_many_classes_is_that_of_one_table_of_binomials() -> None:
    # 1,000 classes of 50 images: some class is never right. With 20 seeds of 1,300 images it is.
    assert minima.least_by_chance([50] * 1000, 1e-3) < 1e-12
    least = minima.least_by_chance([1300] * 1000, 1e-3, 20)
    counts = np.arange(1, 26001)
    assert least == pytest.approx((stats.binom.sf(counts - 1, 26000, 1e-3) ** 1000).sum() / 26000)


@pytest.mark.parametrize(("classes", "images"), [(2, 400), (10, 40)])
def test_a_guesser_is_seldom_taken_for_more_than_chance_on_its_worst_class(
    classes: int, images: int
) -> None:
    rng = np.random.default_rng(0)
    level = minima.least_by_chance([images] * classes, 1 / classes)
    df = np.full(classes, images - 1)
    above = 0
    for _ in range(200):
        values, drawn, _ = answers(np.full(classes, 1 / classes), images, 1, rng, 50)
        found = worst(values, drawn, df)
        above += found.low > level
    # 2.5 % at most, 5 of 200; 11 and more are less than 2 % likely then.
    assert above <= 10

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from capsynth import intervals, proportions, statistics

Answers = st.lists(st.booleans(), min_size=2, max_size=60)


def layout(strata: list[int], sources: list[int] | None = None) -> proportions.Layout:
    names = [str(source) for source in sources or range(len(strata))]
    design = statistics.image_design([str(stratum) for stratum in strata], names)
    return proportions.layout_of(design, np.arange(len(strata)))


def interval_of(lay: proportions.Layout, answers: np.ndarray) -> tuple[float, float, float]:
    """Return value and bounds of runs' answers (runs, n), in the order of the samples."""
    spread = proportions.spread_of_shares(lay, answers[:, None, lay.rows].astype(float))
    found = intervals.estimate_of(spread)
    low, high = proportions.score_interval(found, np.array([lay.n]))
    return float(found.value[0]), float(low[0]), float(high[0])


@pytest.mark.parametrize("right", [0, 40])
@pytest.mark.parametrize("runs", [1, 3])
def test_0_and_40_of_40_have_wilsons_interval_however_many_runs_agree(
    right: int, runs: int
) -> None:
    answers = np.tile(np.arange(40) < right, (runs, 1))
    _, low, high = interval_of(layout([0] * 40), answers)
    assert (low, high) == pytest.approx(proportion_confint(right, 40, method="wilson"), rel=1e-6)


@pytest.mark.parametrize("right", [0, 3, 20])
def test_wilsons_interval_is_that_of_statsmodels(right: int) -> None:
    low, high = proportions.wilson(np.array([right / 20]), np.array([20.0]))
    theirs = proportion_confint(right, 20, method="wilson")
    assert (low[0], high[0]) == pytest.approx(theirs, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("right", [4, 77, 200, 396])
def test_one_run_has_about_wilsons_interval(right: int) -> None:
    _, low, high = interval_of(layout([0] * 400), (np.arange(400) < right)[None])
    theirs = proportion_confint(right, 400, method="wilson")
    # One image is borrowed and one added: a few tenths of a percent of the width.
    assert (low, high) == pytest.approx(theirs, abs=0.02 * (theirs[1] - theirs[0]))


def test_a_classifier_that_always_answers_one_class_has_an_interval() -> None:
    # 13 classes of 40: that of the answer is all right, and no other is ever.
    strata = np.repeat(np.arange(13), 40)
    value, low, high = interval_of(layout(strata.tolist()), np.tile(strata == 4, (3, 1)))
    assert value == pytest.approx(1 / 13)
    # Were 1 of 520 answers the other way: the least that could be seen.
    assert low < value - 1 / 520
    assert value + 1 / 520 < high < value + 0.02


@given(st.integers(1, 3), Answers, st.integers(1, 4))
def test_no_interval_is_without_width_or_leaves_0_to_1(
    runs: int, answers: list[bool], classes: int
) -> None:
    strata = [i % classes for i in range(len(answers))]
    value, low, high = interval_of(layout(strata), np.tile(answers, (runs, 1)))
    assert 0.0 <= low <= value + 1e-12
    assert value - 1e-12 <= high <= 1.0
    assert high - low > 1e-3


@given(st.integers(0, 2**32 - 1))
def test_the_variance_of_a_stratified_sum_is_cochrans(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(2, 9, size=4)
    strata = np.repeat(np.arange(4), sizes)
    values = rng.normal(size=len(strata))
    lay = layout(strata.tolist())
    expected = sum(n * values[strata == i].var(ddof=1) for i, n in enumerate(sizes))
    found = proportions.variance_of_sums(lay, values[None, lay.rows], borrowed=0.0)
    assert found[0] == pytest.approx(expected)


def test_the_variance_of_clusters_is_that_of_the_bootstrap() -> None:
    rng = np.random.default_rng(3)
    strata, sources = np.repeat([0, 1, 2], 40).tolist(), np.repeat(np.arange(24), 5).tolist()
    design = statistics.image_design([str(s) for s in strata], [str(s) for s in sources])
    right = rng.random(120) < np.repeat(rng.random(24), 5)
    weights = np.concatenate(list(statistics.image_weights(design, 20_000, 0)))
    lay = proportions.layout_of(design, np.arange(120))
    found = proportions.variance_of_sums(lay, right[None, lay.rows].astype(float), borrowed=0.0)
    assert found[0] == pytest.approx((weights @ right).var(), rel=0.05)


def test_the_versions_of_an_image_count_as_one_at_the_edge() -> None:
    # 5 versions of each of 8 images, all right.
    lay = layout([0] * 40, np.repeat(np.arange(8), 5).tolist())
    _, low, high = interval_of(lay, np.ones((1, 40), dtype=bool))
    t = float(intervals.t_quantile(np.array([7.0]), 0.025)[0])
    assert high == 1.0
    assert low == pytest.approx(8 / (8 + t**2), rel=1e-6)


def test_three_seeds_that_each_gain_8_other_images_of_400() -> None:
    lay = layout(np.repeat(np.arange(10), 40).tolist())
    gains = np.zeros((3, 1, 400))
    for seed in range(3):  # spread over classes and images
        gains[seed, 0, np.arange(8) * 47 + 13 * seed] = 1.0
    assert gains.max(axis=0).sum() == 24
    difference = proportions.spread_of_differences(lay, gains)
    base = np.zeros((3, 1, 400))
    base[:, 0, ::2] = 1.0
    sides = tuple(proportions.spread_of_shares(lay, base) for _ in range(2))
    shared = intervals.moderated(list(sides))
    found = intervals.difference_of(difference, sides, (shared[0], shared[1]))
    # 24 images gain a third each: sqrt(24 / 9 - 8² / 400) / 400 = 0.40 points, times 1.97.
    assert 100 * found.value[0] == pytest.approx(2.0)
    assert 100 * found.low[0] == pytest.approx(1.22, abs=0.04)
    assert 100 * found.high[0] == pytest.approx(2.78, abs=0.04)


def test_no_difference_at_all_still_has_a_width() -> None:
    lay = layout([0] * 400)
    found = intervals.estimate_of(proportions.spread_of_differences(lay, np.zeros((3, 1, 400))))
    # Two images that differ would not have been surprising.
    assert found.half[0] == pytest.approx(1.966 * np.sqrt(2) / 400, rel=1e-3)
    assert found.p_value[0] == 1.0

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.regression.mixed_linear_model import MixedLM
from statsmodels.stats.anova import anova_lm
from statsmodels.stats.multitest import multipletests

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


def test_a_single_image_or_seed_adds_no_variance() -> None:
    assert (weights(["a", "b"], ["x", "y"], 10, 0) == 1.0).all()
    one = statistics.estimate(np.array([[0.5]]), np.full((1, 10, 1), 0.5), 0)
    assert one.half[0] == 0.0
    assert np.isnan(one.p_value[0])


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


def exact_replicates(answers: np.ndarray) -> np.ndarray:
    """Return replicates of the means over n images, whose covariance is exactly that of theory.

    Args:
        answers: Shape (..., images).

    Returns:
        Shape (..., draws, 1): weights are 1 plus and minus an orthogonal basis of contrasts.
    """
    n = answers.shape[-1]
    basis = np.linalg.svd(np.ones((1, n)))[2][1:]
    contrasts = np.sqrt(n * (2 * n - 3) / (2 * (n - 1))) * basis
    return (answers @ np.concatenate([1 + contrasts, 1 - contrasts]).T / n)[..., None]


def test_seeds_alone_give_scipys_t_interval_and_p_value() -> None:
    values = np.random.default_rng(0).normal(0.3, 0.2, size=(4, 3))
    found = statistics.estimate(values, np.repeat(values[:, None], 9, axis=1), 100)
    theirs = stats.ttest_1samp(values, 0.0)
    bounds = theirs.confidence_interval(0.95)
    assert found.p_value == pytest.approx(theirs.pvalue, rel=1e-6)
    assert found.low == pytest.approx(bounds.low, rel=1e-6)
    assert found.high == pytest.approx(bounds.high, rel=1e-6)


def test_images_alone_give_scipys_t_interval_and_p_value() -> None:
    answers = np.random.default_rng(0).normal(0.1, 0.5, size=40)
    found = statistics.estimate(
        np.array([[answers.mean()]]), exact_replicates(answers)[None], len(answers) - 1
    )
    theirs = stats.ttest_1samp(answers, 0.0)
    assert found.p_value[0] == pytest.approx(theirs.pvalue, rel=1e-6)
    assert found.low[0] == pytest.approx(theirs.confidence_interval().low, rel=1e-6)


def test_the_variances_of_images_and_seeds_are_those_of_statsmodels_analysis_of_variance() -> None:
    rng = np.random.default_rng(2)
    seeds, n = 3, 30
    answers = rng.normal(size=n) + rng.normal(0, 0.5, (seeds, 1)) + rng.normal(size=(seeds, n))
    table = pd.DataFrame(
        {"y": answers.ravel(), "seed": np.repeat(range(seeds), n), "image": list(range(n)) * seeds}
    )
    anova = anova_lm(ols("y ~ C(seed) + C(image)", table).fit())
    squares = anova["sum_sq"] / anova["df"]
    between = squares["C(seed)"] / (n * seeds)
    common = (squares["C(image)"] - squares["Residual"]) / (n * seeds)
    found = statistics.estimate(answers.mean(axis=1)[:, None], exact_replicates(answers), n - 1)
    assert found.images[0] == pytest.approx(squares["C(image)"] / (n * seeds), rel=1e-6)
    assert found.seeds[0] == pytest.approx(between, rel=1e-6)
    assert found.common[0] == pytest.approx(common, rel=1e-6)
    # Banerjee 1960: each variance with the t of its own degrees of freedom.
    of_images, of_seeds = stats.t.ppf(0.975, n - 1), stats.t.ppf(0.975, seeds - 1)
    half = np.sqrt(of_images**2 * common + of_seeds**2 * between)
    assert (found.high - found.low)[0] / 2 == pytest.approx(half, rel=1e-6)


def test_components_of_generation_and_training_are_those_of_statsmodels() -> None:
    rng = np.random.default_rng(4)
    values = rng.normal(0, 1.0, (6, 1)) + rng.normal(0, 0.5, (6, 4))
    replicates = np.repeat(values[..., None, None], 5, axis=2)
    found = statistics.variance_components(values[..., None], replicates)
    groups = np.repeat(range(6), 4)
    anova = anova_lm(ols("y ~ C(g)", pd.DataFrame({"y": values.ravel(), "g": groups})).fit())
    between, within = anova["sum_sq"] / anova["df"]
    assert found.training[0] == pytest.approx(within, rel=1e-6)
    assert found.generation[0] == pytest.approx((between - within) / 4, rel=1e-6)
    # The mixed model is found by search: a maximum is known to the root of its precision.
    mixed = MixedLM(values.ravel(), np.ones(24), groups).fit(reml=True)
    assert found.generation[0] == pytest.approx(float(mixed.cov_re[0, 0]), rel=1e-3)
    assert (found.images[0], found.runs_on_images[0]) == pytest.approx((0.0, 0.0), abs=1e-12)


def test_components_are_found_again_on_average() -> None:
    # Variances of one image: 4 shared by all runs, 1 of its own in each; two sources of seeds.
    rng = np.random.default_rng(0)
    n, sums = 40, np.zeros(4)
    for _ in range(600):
        answers = 2.0 * rng.normal(size=n) + rng.normal(size=(3, 3, n))
        answers = answers + rng.normal(0, 0.3, (3, 1, 1)) + rng.normal(0, 0.2, (3, 3, 1))
        found = statistics.variance_components(
            answers.mean(axis=2)[..., None], exact_replicates(answers)
        )
        sums += [found.images[0], found.runs_on_images[0], found.training[0], found.generation[0]]
    # Those cut off at 0 are a little too high.
    assert sums[:2] / 600 == pytest.approx([4 / n, 1 / n], rel=0.05)
    assert sums[2:] / 600 == pytest.approx([0.04, 0.09], rel=0.15)


def test_one_generation_seed_shows_no_variance_between_them() -> None:
    with pytest.raises(CapsynthError, match="1 generation and 3 training seeds"):
        statistics.variance_components(np.ones((1, 3, 1)), np.ones((1, 3, 2, 1)))


@given(st.lists(st.integers(-3, 3), min_size=2, max_size=9))
def test_the_sign_flip_test_agrees_with_scipys_permutation_test(differences: list[int]) -> None:
    theirs = stats.permutation_test(
        (np.array(differences), np.zeros(len(differences))),
        lambda x, y, axis: np.sum(x - y, axis=axis),
        permutation_type="samples",
        n_resamples=np.inf,
        vectorized=True,
    )
    assert statistics.sign_flip_p_value(differences) == pytest.approx(theirs.pvalue, rel=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_holm_agrees_with_statsmodels(seed: int) -> None:
    p_values = np.random.default_rng(seed).random(20).round(2 + seed)  # the first have ties
    theirs = multipletests(p_values, method="holm")[1]
    assert statistics.holm(p_values) == pytest.approx(theirs, rel=1e-6)


def test_degrees_of_freedom_are_units_less_strata_of_the_rows() -> None:
    design = statistics.image_design(list("aaaabbc"), ["x", "x", "y", "z", "x", "y", "x"])
    assert statistics.image_df(design, np.arange(7)) == 3
    assert statistics.image_df(design, np.array([0, 1, 4, 5])) == 1


def test_the_sign_flip_test_rarely_rejects_where_nothing_differs() -> None:
    rng = np.random.default_rng(5)
    rejected = 0
    for _ in range(300):
        differences = rng.integers(0, 4, size=100) - rng.integers(0, 4, size=100)
        rejected += statistics.sign_flip_p_value(differences) <= 0.05
    assert 0.01 <= rejected / 300 <= 0.08

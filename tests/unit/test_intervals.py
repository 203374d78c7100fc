import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, special, stats

from capsynth import intervals

POSITIVE = st.floats(1e-6, 10.0)


def spread(
    value: float = 0.0, runs: int = 3, images: float = 1.0, own: float = 0.5, between: float = 0.0
) -> intervals.Spread:
    of = (np.array([x]) for x in (value, images, own, 3 * images, between, 99.0))
    mean, *others = of
    return intervals.Spread(mean, runs, *others)


def test_seeds_that_agree_by_luck_leave_the_interval_of_the_images() -> None:
    lucky = intervals.estimate_of(spread(between=0.0, own=3.0))
    assert lucky.half[0] == pytest.approx(stats.t.ppf(0.975, 99))


def test_seeds_that_differ_more_than_images_explain_widen_the_interval() -> None:
    found = intervals.estimate_of(spread(between=6.0, own=0.6))
    t_images, t_seeds = stats.t.ppf(0.975, 99), stats.t.ppf(0.975, 2)
    assert found.half[0] ** 2 == pytest.approx(t_images**2 * (1 - 0.2) + t_seeds**2 * 2.0)


def test_one_run_has_the_interval_of_its_images() -> None:
    found = intervals.estimate_of(spread(runs=1, own=0.0))
    assert found.half[0] == pytest.approx(stats.t.ppf(0.975, 99))


@given(st.floats(-5.0, 5.0), POSITIVE, POSITIVE, st.integers(2, 7))
def test_p_is_below_5_percent_just_where_the_interval_leaves_0_out(
    value: float, images: float, between: float, runs: int
) -> None:
    found = intervals.estimate_of(spread(value, runs, images, images / 2, between))
    assert (found.p_value[0] < 0.05) == (not found.low[0] <= 0.0 <= found.high[0])


@given(st.floats(0.1, 5.0), POSITIVE, POSITIVE)
def test_p_is_where_the_interval_at_its_level_ends_at_0(
    value: float, images: float, between: float
) -> None:
    found = intervals.estimate_of(spread(value, 3, images, 0.0, between))
    p = float(found.p_value[0])
    half = optimize.brentq(
        lambda log: float(found.half_squared(np.exp(log))[0]) - value**2, -290, np.log(0.4999)
    )
    assert p == pytest.approx(min(1.0, 2 * np.exp(half)), rel=1e-6)


def test_p_of_images_alone_is_scipys_far_out_in_the_tail() -> None:
    found = intervals.estimate_of(spread(8.0, runs=1, own=0.0))
    assert found.p_value[0] == pytest.approx(2 * stats.t.sf(8.0, 99), rel=1e-6)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0])
@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("level", [0.95, 1 - 0.05 / 18])
def test_intervals_cover_at_any_level_whatever_share_of_the_variance_is_the_seeds(
    share: float, seeds: int, level: float
) -> None:
    # The variance from images is known; 200,000 experiments, one training set.
    rng = np.random.default_rng(0)
    n = 200_000
    mean = rng.standard_normal(n)
    between = share * seeds * rng.chisquare(seeds - 1, n) / (seeds - 1)
    images = np.full(n, 1.0 - share)
    of_all = intervals.Spread(mean, seeds, images, np.zeros(n), images, between, np.full(n, np.inf))
    found = intervals.estimate_of(of_all, level=level)
    missed = np.mean(np.abs(mean) > found.half)
    assert missed <= (1 - level) + 4 * np.sqrt((1 - level) * level / n)
    if share in (0.0, 1.0):
        assert missed == pytest.approx(1 - level, rel=0.2)


@given(st.floats(1e-3, 1e3))
def test_the_inverse_of_the_trigamma_function_inverts_it(value: float) -> None:
    found = float(intervals.trigamma_inverse(np.array(value)))
    assert special.polygamma(1, found) == pytest.approx(value, rel=1e-8)


def prior_df(excess: float) -> float:
    """Return the degrees of freedom of a prior whose logarithms have this variance."""
    found: float = 2 * optimize.brentq(lambda x: special.polygamma(1, x) - excess, 1e-3, 1e3)
    return found


def test_variances_that_are_alike_by_luck_are_not_taken_for_those_of_one_prior() -> None:
    # By hand: the logarithm of a mean square with 2 degrees of freedom is that of an exponential
    # variable, with variance pi²/6 and kurtosis 12/5 above the normal's; half a standard error.
    excess = 0.5 * np.pi**2 / 6 * np.sqrt(2 / 3 + 2.4 / 4)
    found, df = intervals.squeezed(np.full((4, 1), 2.0), np.full(4, 2.0))
    assert found[:, 0] == pytest.approx([2.0] * 4)
    assert df[:, 0] == pytest.approx([prior_df(excess) + 2.0] * 4, rel=1e-6)
    assert df[0, 0] < 8.0


def test_many_training_sets_and_seeds_of_one_variance_have_most_of_the_degrees_of_freedom() -> None:
    found, df = intervals.squeezed(np.full((400, 1), 2.0), np.full(400, 2.0))
    assert found[0, 0] == pytest.approx(2.0)
    assert df[0, 0] > 2 * 2.0 + 10


def test_variances_that_differ_are_drawn_to_their_mean_as_far_as_the_prior_says() -> None:
    # By hand, with 4 degrees of freedom each: the logarithms have variance ln(100)²/2. With 4 the
    # margin is a whole standard error.
    variances = np.array([[0.1], [10.0]])
    found, df = intervals.squeezed(variances, np.full(2, 4.0))
    by_chance = special.polygamma(1, 2)
    error = by_chance * np.sqrt(2 + special.polygamma(3, 2) / by_chance**2 / 2)
    prior = prior_df(np.log(100) ** 2 / 2 - by_chance + error)
    assert found[:, 0] == pytest.approx(
        [(prior * 5.05 + 4 * x) / (prior + 4) for x in (0.1, 10.0)], rel=1e-6
    )
    assert df[:, 0] == pytest.approx([prior + 4] * 2, rel=1e-6)


def test_the_prior_is_found_again() -> None:
    # 4,000 variances with 4 degrees of freedom; their prior has 10.
    rng = np.random.default_rng(0)
    true = 3.0 * 10 / rng.chisquare(10, 4000)
    variances = true * rng.chisquare(4, 4000) / 4
    _, df = intervals.squeezed(variances[:, None], np.full(4000, 4.0))
    assert df[0, 0] == pytest.approx(14, rel=0.1)


def test_ratios_are_shared_so_that_accuracies_of_50_and_99_percent_can() -> None:
    def of(images: float, between: float) -> intervals.Spread:
        x = [np.array([number]) for number in (0.5, images, 0.0, images, between, np.inf)]
        return intervals.Spread(x[0], 3, *x[1:])

    high, low = intervals.moderated([of(25.0, 50.0), of(1.0, 2.0)])
    assert (high.variance[0], low.variance[0]) == (pytest.approx(50.0), pytest.approx(2.0))
    assert high.df[0] == low.df[0] == 4.0


def test_a_single_training_set_keeps_its_variance() -> None:
    one = intervals.moderated([spread(between=4.0), spread(runs=1)])[0]
    assert (one.variance[0], one.df[0]) == (4.0, 2.0)


def test_a_difference_has_the_seeds_of_both_sides() -> None:
    sides = (spread(own=0.3, between=2.0), spread(own=0.6, between=4.0))
    found = intervals.difference_of(
        spread(1.0, images=0.5), sides, (sides[0].seeds, sides[1].seeds)
    )
    assert found.seeds[0] == pytest.approx(2.0)
    assert found.common[0] == pytest.approx(0.5 - 0.3)
    assert found.df_seeds[0] == 2.0

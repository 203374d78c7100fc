import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score, roc_curve

from capsynth import statistics
from capsynth.errors import CapsynthError
from capsynth.privacy import roc

# Few distinct values: ties within and between members and non-members, infinite scores among them.
TIED = st.lists(
    st.tuples(st.sampled_from([-np.inf, -1.0, 0.0, 0.25, 0.5, np.inf]), st.booleans()),
    min_size=2,
    max_size=40,
).filter(lambda pairs: 0 < sum(member for _, member in pairs) < len(pairs))
SEEDS = st.integers(0, 2**32 - 1)


def split(pairs: list[tuple[float, bool]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([score for score, _ in pairs]), np.array([member for _, member in pairs])


def random_scores(seed: int, n: int = 300) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    member = np.arange(n) < rng.integers(1, n)
    return rng.normal(size=n).astype(np.float32) + 0.7 * member, member


def curve_of(scores: np.ndarray, member: np.ndarray) -> roc.Roc:
    return roc.roc(roc.rank(scores, member), np.ones((1, len(scores))))


def design_of(member: np.ndarray) -> statistics.ImageDesign:
    keys = [str(i) for i in range(len(member))]
    return statistics.image_design([str(m) for m in member], keys)


def check_against_scikit_learn(scores: np.ndarray, member: np.ndarray) -> None:
    finite = np.nan_to_num(scores.astype(float), posinf=1e9, neginf=-1e9)
    fpr, tpr, thresholds = roc_curve(member, finite, drop_intermediate=False)
    curve, ranking = curve_of(scores, member), roc.rank(scores, member)
    np.testing.assert_allclose(curve.fpr[0], fpr, rtol=1e-12)
    np.testing.assert_allclose(curve.tpr[0], tpr, rtol=1e-12)
    np.testing.assert_allclose(
        np.nan_to_num(ranking.thresholds[1:], posinf=1e9, neginf=-1e9), thresholds[1:]
    )
    assert roc.auc(curve)[0] == pytest.approx(roc_auc_score(member, finite), rel=1e-12)
    assert roc.best_accuracy(curve)[0] == pytest.approx((1 + (tpr - fpr).max()) / 2, rel=1e-12)
    for rate in (0.001, 0.01, 0.3, 1.0):
        expected = tpr[np.flatnonzero(fpr <= rate)[-1]]
        assert roc.tpr_at_fpr(curve, rate)[0] == pytest.approx(expected, rel=1e-12)


@given(SEEDS)
def test_roc_auc_and_rates_agree_with_scikit_learn(seed: int) -> None:
    check_against_scikit_learn(*random_scores(seed))


@given(TIED)
def test_ties_agree_with_scikit_learn(pairs: list[tuple[float, bool]]) -> None:
    check_against_scikit_learn(*split(pairs))


@given(SEEDS)
def test_weights_agree_with_the_sample_weights_of_scikit_learn(seed: int) -> None:
    scores, member = random_scores(seed)
    weights = np.random.default_rng(seed).integers(1, 4, size=(3, len(scores))).astype(float)
    curves = roc.roc(roc.rank(scores, member), weights)
    for draw in range(3):
        expected = roc_auc_score(member, scores, sample_weight=weights[draw])
        assert roc.auc(curves)[draw] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("rate", roc.FPRS)
def test_weights_of_a_bootstrap_draw_are_samples_taken_so_often(rate: float) -> None:
    scores, member = random_scores(5, 2000)
    counts = np.random.default_rng(6).integers(0, 3, size=(1, 2000))
    weighted = roc.roc(roc.rank(scores, member), counts.astype(float))
    again = np.repeat(np.arange(2000), counts[0])
    repeated = curve_of(scores[again], member[again])
    assert roc.auc(weighted)[0] == pytest.approx(roc.auc(repeated)[0])
    assert roc.best_accuracy(weighted)[0] == pytest.approx(roc.best_accuracy(repeated)[0])
    assert roc.tpr_at_fpr(weighted, rate)[0] == pytest.approx(roc.tpr_at_fpr(repeated, rate)[0])


def test_equal_scores_say_nothing() -> None:
    curve = curve_of(np.full(7, 0.5), np.arange(7) < 3)
    assert (roc.auc(curve)[0], roc.best_accuracy(curve)[0]) == (0.5, 0.5)
    assert roc.tpr_at_fpr(curve, 0.01)[0] == 0.0


def test_one_member_and_one_non_member_make_a_curve() -> None:
    curve = curve_of(np.array([2.0, 1.0]), np.array([True, False]))
    assert (roc.auc(curve)[0], roc.best_accuracy(curve)[0]) == (1.0, 1.0)


@pytest.mark.parametrize("member", [[True, True], [False, False], []])
def test_one_side_alone_is_refused(member: list[bool]) -> None:
    with pytest.raises(CapsynthError, match="an attack needs both"):
        roc.rank(np.zeros(len(member)), np.array(member, dtype=bool))


def test_a_score_that_is_no_number_is_refused() -> None:
    with pytest.raises(CapsynthError, match="not a number"):
        roc.rank(np.array([0.0, np.nan]), np.array([True, False]))


@given(SEEDS)
def test_the_best_accuracy_is_the_statistic_of_the_kolmogorov_smirnov_test(seed: int) -> None:
    scores, member = random_scores(seed)
    one_sided = stats.ks_2samp(scores[member], scores[~member], alternative="less", method="asymp")
    best = roc.best_accuracy(curve_of(scores, member))[0]
    assert best == pytest.approx((1 + one_sided.statistic) / 2)


@pytest.mark.parametrize(("members", "nonmembers"), [(16, 400), (400, 400), (2000, 1000)])
def test_the_best_accuracy_without_a_leak_is_what_theory_says(
    members: int, nonmembers: int
) -> None:
    rng = np.random.default_rng(1)
    member = np.arange(members + nonmembers) < members
    best = [roc.best_accuracy(curve_of(rng.random(len(member)), member))[0] for _ in range(400)]
    expected = roc.best_accuracy_without_leak(members, nonmembers)
    # The limit is reached from below: a sample's largest gap falls short of the path's.
    assert expected - 0.012 < np.mean(best) < expected + 0.001
    assert np.mean(best) > 0.5


def test_few_non_members_resolve_no_small_rate() -> None:
    assert roc.resolves(100, 0.01)
    assert not roc.resolves(99, 0.01)
    assert not roc.resolves(400, 0.001)
    scores, member = random_scores(3, 60)
    measured = measure(scores[None], member)
    named = dict(zip(roc.METRICS, measured.values[0], strict=True))
    assert np.isnan(named["tpr_at_fpr_0.01"])
    one, place = roc.of_model(measured, 0), roc.METRICS.index("tpr_at_fpr_0.01")
    assert one.low[place] == 0.0
    assert 0.0 < one.high[place] < 1.0
    over = roc.over_models(measured, len(member) - 2)
    assert np.isnan([over.values[place], over.low[place], over.high[place]]).all()


def measure(scores: np.ndarray, member: np.ndarray, draws: int = 100) -> roc.Measured:
    calibration = roc.calibration_half(np.array([str(i) for i in range(len(member))]))
    return roc.measure(scores, member, calibration, design_of(member), draws, 0)


def test_the_interval_of_a_rate_is_clopper_pearsons_where_the_threshold_is_sure() -> None:
    # Non-members all score 0, so every threshold above 0 has no false positive.
    scores = np.concatenate([np.ones(30), np.full(70, -1.0), np.zeros(100_000)])
    ranking = roc.rank(scores, np.arange(len(scores)) < 100)
    expected = stats.binomtest(30, 100).proportion_ci(0.975, method="exact")
    assert roc.tpr_interval(ranking, 0.01) == pytest.approx(tuple(expected), rel=1e-6)


@given(SEEDS)
def test_the_interval_of_a_rate_agrees_with_a_naive_construction(seed: int) -> None:
    rng = np.random.default_rng(seed)
    members, nonmembers = rng.normal(1, 1, 150).round(2), np.sort(rng.normal(size=500).round(2))
    fewest, most = stats.binom(500, 0.01).interval(0.975)
    # At least 1 and at most 11 of 500 non-members lie above the threshold of 1 %, so it is below
    # the highest and not below the twelfth.
    assert (fewest, most) == (1, 11)
    sure, possible = (members > nonmembers[-1]).sum(), (members > nonmembers[-12]).sum()
    low = stats.binomtest(sure, 150).proportion_ci(0.975, method="exact").low
    high = stats.binomtest(possible, 150).proportion_ci(0.975, method="exact").high
    scores = np.concatenate([members, nonmembers])
    ranking = roc.rank(scores, np.arange(650) < 150)
    assert roc.tpr_interval(ranking, 0.01) == pytest.approx((low, high), rel=1e-6)


@pytest.mark.parametrize(("members", "nonmembers"), [(400, 400), (2000, 2000), (50, 1000)])
@pytest.mark.parametrize("shift", [0.0, 1.5])
@pytest.mark.parametrize("decimals", [6, 0])
def test_intervals_of_rates_cover_the_truth_at_least_as_often_as_they_say(
    members: int, nonmembers: int, shift: float, decimals: int
) -> None:
    # Rounded scores: no threshold has a rate of 1 % exactly, the next lower rate is what is meant.
    thresholds = np.round(np.arange(-6, 8, 10.0**-decimals), decimals) if decimals == 0 else None
    if thresholds is None:
        truth = stats.norm.sf(stats.norm.isf(0.01) - shift)
    else:
        allowed = thresholds[stats.norm.sf(thresholds - 0.5) <= 0.01].min()
        truth = stats.norm.sf(allowed - 0.5 - shift)
    rng = np.random.default_rng(8)
    member = np.arange(members + nonmembers) < members
    covered = 0
    for _ in range(200):
        scores = np.round(rng.normal(size=len(member)) + shift * member, decimals)
        low, high = roc.tpr_interval(roc.rank(scores, member), 0.01)
        covered += low <= truth <= high
    assert covered / 200 >= 0.95


def test_the_calibrated_accuracy_is_that_of_the_other_halfs_threshold() -> None:
    scores = np.array([0.9, 0.1, 0.8, 0.3, 0.2, 0.7, 0.85, 0.6])
    member = np.array([True, False, True, False, True, True, False, False])
    calibration = np.array([True] * 4 + [False] * 4)
    # The first half is told apart best at 0.8; of the second, only a non-member reaches that.
    found = roc.calibrated_accuracy(scores, member, calibration, np.ones((1, 8)))
    assert found.tolist() == [(0 / 2 + 1 / 2) / 2]


def test_a_half_without_members_gives_no_calibrated_accuracy() -> None:
    member = np.array([True, False, False])
    calibration = np.array([True, True, False])
    found = roc.calibrated_accuracy(np.arange(3.0), member, calibration, np.ones((2, 3)))
    assert np.isnan(found).all()


def test_a_draw_that_takes_nothing_of_a_tiny_half_gives_no_interval() -> None:
    member = np.arange(40) < 4
    calibration = np.arange(40) % 2 == 0
    scores = np.arange(40.0)
    measured = roc.measure(scores[None], member, calibration, design_of(member), 200, 0)
    found, place = roc.of_model(measured, 0), roc.METRICS.index("calibrated_accuracy")
    assert found.values[place] == 0.5
    assert np.isnan([found.low[place], found.high[place]]).all()


def test_the_calibrated_accuracy_of_noise_is_one_half_and_the_best_accuracy_is_not() -> None:
    rng = np.random.default_rng(2)
    member = np.arange(200) < 100
    values = np.stack([measure(rng.random((1, 200)), member, 1).values[0] for _ in range(400)])
    mean = dict(zip(roc.METRICS, values.mean(axis=0), strict=True))
    error = dict(zip(roc.METRICS, values.std(axis=0) / 20, strict=True))
    assert abs(mean["calibrated_accuracy"] - 0.5) < 4 * error["calibrated_accuracy"]
    assert abs(mean["auc"] - 0.5) < 4 * error["auc"]
    assert mean["best_accuracy"] > 0.53


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_intervals_of_the_area_cover_the_truth_about_as_often_as_they_say(shift: float) -> None:
    # 10 classes of 15 members and 15 non-members; classes differ in difficulty.
    rng = np.random.default_rng(4)
    member = np.arange(300) < 150
    classes = np.arange(300) % 10
    hardness = np.linspace(-1, 1, 10)
    differences = (hardness[:, None] - hardness[None, :]).ravel()
    truth = stats.norm.cdf((shift + differences) / np.sqrt(2)).mean()
    strata = [f"{m}/{c}" for m, c in zip(member, classes, strict=True)]
    design = statistics.image_design(strata, [str(i) for i in range(300)])
    covered = 0
    for repetition in range(200):
        scores = rng.normal(size=300) + shift * member + hardness[classes]
        ranking = roc.rank(scores, member)
        blocks = statistics.image_weights(design, 200, repetition)
        replicates = np.concatenate([roc.auc(roc.roc(ranking, block)) for block in blocks])
        low, high = statistics.interval(replicates[:, None])
        covered += low[0] <= truth <= high[0]
    assert 0.91 <= covered / 200 <= 0.985


def test_a_measure_of_several_models_is_that_of_each() -> None:
    scores, member = random_scores(9)
    other = scores[::-1].copy()
    both, alone = measure(np.stack([scores, other]), member), measure(other[None], member)
    np.testing.assert_array_equal(both.values[1], alone.values[0])
    np.testing.assert_array_equal(both.replicates[1], alone.replicates[0])
    assert both.replicates.shape == (2, 100, len(roc.METRICS))


@settings(max_examples=30)
@given(SEEDS)
def test_intervals_hold_their_estimate(seed: int) -> None:
    scores = random_scores(seed)[0]
    member = np.arange(len(scores)) < 40
    measured = measure(np.stack([scores, scores + member]), member)
    for found in (
        roc.of_model(measured, 0),
        roc.over_models(measured, len(member) - 2),
    ):
        for name, value, low, high in zip(
            roc.METRICS, found.values, found.low, found.high, strict=True
        ):
            assert np.isnan(value) or low - 1e-9 <= value <= high + 1e-9, name


def test_a_mean_over_models_varies_with_the_models() -> None:
    scores, member = random_scores(9)
    shifted = np.stack([scores, scores + 2 * member])
    same = np.stack([scores, scores])
    place = roc.METRICS.index("auc")
    apart, together = (
        roc.over_models(measure(s, member), len(member) - 2) for s in (shifted, same)
    )
    alone = roc.of_model(measure(scores[None], member), 0)
    assert apart.high[place] - apart.low[place] > 2 * (together.high[place] - together.low[place])
    assert together.low[place] == pytest.approx(alone.low[place], abs=0.01)


@pytest.mark.parametrize("apart", [5.0, -5.0, 0.0])
@pytest.mark.parametrize("models", [1, 3])
def test_attacks_that_do_not_vary_have_an_interval_or_none(apart: float, models: int) -> None:
    member = np.arange(80) < 30
    measured = measure(np.stack([apart * member] * models), member)
    found = roc.of_model(measured, 0) if models == 1 else roc.over_models(measured, 78)
    wide = roc.with_width(found, measured.exact, 30)
    place = roc.METRICS.index("auc")
    if apart == 0.0:
        assert wide.values[place] == 0.5
        assert np.isnan(wide.low[place])
    elif apart > 0.0:
        assert wide.low[place] == pytest.approx(0.025 ** (1 / 30))
    for value, low, high in zip(wide.values, wide.low, wide.high, strict=True):
        if not np.isnan(value) and not np.isnan(low):
            assert low <= value <= high
            assert high - low > 1e-6

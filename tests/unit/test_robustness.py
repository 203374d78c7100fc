import numpy as np
import pytest
import statsmodels.api as sm
from scipy import special

from capsynth import robustness, statistics
from capsynth.corruptions import IMAGENET_C
from capsynth.errors import CapsynthError


def controls(seed: int, n: int = 6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = np.linspace(-0.5, 2.0, n) + rng.normal(0, 0.1, n)
    return x, -1.0 + 0.8 * x + rng.normal(0, 0.1, n)


@pytest.mark.parametrize("seed", range(5))
def test_the_line_agrees_with_statsmodels(seed: int) -> None:
    x, y = controls(seed)
    theirs = sm.OLS(y, sm.add_constant(x)).fit().params
    line = robustness.fit_line(x, y)
    assert (line.intercept, line.slope) == pytest.approx(tuple(theirs), rel=1e-6)
    above = robustness.effective_robustness(x, special.expit(y), line)
    expected = special.expit(theirs[0] + theirs[1] * x)
    assert above == pytest.approx(special.expit(y) - expected, rel=1e-6, abs=1e-12)


def test_lines_of_many_draws_are_the_lines_of_each() -> None:
    xs, ys = np.stack([np.stack(controls(seed)) for seed in range(4)], axis=1)
    together = robustness.fit_line(xs, ys)
    single = [robustness.fit_line(x, y) for x, y in zip(xs, ys, strict=True)]
    assert together.slope == pytest.approx([line.slope for line in single])
    assert together.intercept == pytest.approx([line.intercept for line in single])


def test_the_band_is_that_of_linear_regression_where_images_add_no_noise() -> None:
    x, y = controls(3)
    grid = np.linspace(-1.0, 3.0, 5)
    line = robustness.fit_line(x, y)
    draws = (20_000, 1)
    replicates = robustness.replicate_line(
        x, y, np.tile(x, draws), np.tile(y, draws), np.random.default_rng(0)
    )
    low, high = robustness.band(line, replicates, grid)
    theirs = sm.OLS(y, sm.add_constant(x)).fit().get_prediction(sm.add_constant(grid))
    expected = special.expit(theirs.conf_int())
    assert np.stack([low, high], axis=1) == pytest.approx(expected, abs=0.005)


def test_shares_of_0_and_1_are_half_a_sample_inside() -> None:
    found = special.expit(robustness.logit(np.array([0.0, 0.25, 1.0]), 50))
    assert found == pytest.approx([0.01, 0.25, 0.99])


def test_accuracies_beyond_those_of_the_fitted_classifiers_are_extrapolated() -> None:
    line = robustness.PUBLISHED_LINES["val", "imagenet-sketch"]
    assert line.extrapolates(np.array([0.40, 0.6043, 0.80])).tolist() == [True, False, False]
    x, y = controls(0)
    fitted = robustness.fit_line(x, y)
    assert not fitted.extrapolates(special.expit(np.median(x)))
    assert fitted.extrapolates(special.expit(x.max() + 0.01))


@pytest.mark.parametrize(
    ("pair", "inside", "outside"),
    [
        (("val", "imagenetv2-matched-frequency-format-val"), 0.77374, 0.65450),
        (("val", "imagenet-sketch"), 0.77374, 0.26969),
        (("val-on-imagenet-r-classes", "imagenet-r"), 0.92880, 0.39307),
        (("val-on-imagenet-a-classes", "imagenet-a"), 0.92800, 0.04720),
        (("val-on-objectnet-classes", "objectnet-1.0-beta"), 0.80288, 0.38376),
    ],
)
def test_the_testbeds_resnet_101_lies_near_the_published_lines(
    pair: tuple[str, str], inside: float, outside: float
) -> None:
    line = robustness.PUBLISHED_LINES[pair]
    above = robustness.effective_robustness(
        robustness.logit(inside, 50_000), np.array(outside), line
    )
    assert abs(above) < 0.025
    assert not line.extrapolates(inside)


def test_two_controls_or_equal_ones_give_no_line() -> None:
    for x in (np.array([0.1, 0.2]), np.zeros(4)):
        with pytest.raises(CapsynthError, match="three or more fractions"):
            robustness.fit_line(x, x)


@pytest.mark.slow
def test_intervals_of_effective_robustness_cover_the_truth_as_often_as_they_say() -> None:
    # 6 controls about a line and one classifier above it, 3 seeds each, answer two image sets.
    rng = np.random.default_rng(0)
    n, seeds, repetitions = 400, 3, 500
    design = statistics.image_design(["all"] * n, [str(i) for i in range(n)])
    draws = np.concatenate(list(statistics.image_weights(design, 500, 1))) / n
    inside = np.array([0.0, 0.4, 0.8, 1.2, 1.6, 2.0, 0.9])
    gain = np.array([0, 0, 0, 0, 0, 0, 0.4])
    spread = np.hypot(1.0, 0.2)
    nodes, masses = np.polynomial.hermite_e.hermegauss(61)

    def accuracy(logits: np.ndarray) -> np.ndarray:
        grid = special.expit(np.asarray(logits)[..., None] + spread * nodes)
        return grid @ masses / masses.sum()

    covered = 0
    for _ in range(repetitions):
        scatter = rng.normal(0, 0.05, 7)
        scatter[6] = 0.0
        outside = -1.0 + 0.8 * inside + gain + scatter
        means, replicates = [], []
        for logits in (inside, outside):
            at = logits[:, None, None] + rng.normal(0, 0.2, (7, seeds, 1)) + rng.normal(size=n)
            right = (rng.random((7, seeds, n)) < special.expit(at)).astype(float)
            means.append(right.mean(axis=2))
            replicates.append(np.moveaxis(right @ draws.T, 2, 1))
        truth_line = robustness.fit_line(
            special.logit(accuracy(inside[:6])), special.logit(accuracy(-1 + 0.8 * inside[:6]))
        )
        truth = robustness.effective_robustness(
            special.logit(accuracy(inside[6:])), accuracy(outside[6:]), truth_line
        )
        points = [robustness.logit(mean[:6].mean(axis=1), n * seeds) for mean in means]
        lines = robustness.replicate_line(
            *points,
            *(robustness.logit(drawn[:6].mean(axis=2).T, n * seeds) for drawn in replicates),
            rng,
        )
        values = robustness.effective_robustness(
            robustness.logit(means[0][6], n), means[1][6], robustness.fit_line(*points)
        )
        drawn_values = robustness.effective_robustness(
            robustness.logit(replicates[0][6].T, n), replicates[1][6].T, lines
        )
        found = statistics.estimate(values[:, None], drawn_values[..., None], lines.classifiers - 2)
        covered += found.low[0] <= truth[0] <= found.high[0]
    assert 0.93 <= covered / repetitions


def test_alexnet_has_corruption_errors_of_one() -> None:
    errors = np.repeat(np.array(list(robustness.ALEXNET_ERROR.values()))[:, None], 5, axis=1)
    assert robustness.mean_corruption_error(errors, IMAGENET_C) == pytest.approx(1.0)
    clean = np.array(robustness.ALEXNET_CLEAN_ERROR)
    assert robustness.relative_corruption_error(errors, clean, IMAGENET_C) == pytest.approx(1.0)


def test_corruption_errors_agree_with_a_naive_loop_for_draws_and_any_order() -> None:
    rng = np.random.default_rng(0)
    names = rng.permutation(IMAGENET_C).tolist()
    errors, clean = rng.random((2, 15, 5)), rng.random(2)
    for draw in range(2):
        ces, relative = [], []
        for name, row in zip(names, errors[draw].tolist(), strict=True):
            alexnet = robustness.ALEXNET_ERROR[name]
            ces.append(sum(row) / (5 * alexnet))
            relative.append(sum(e - clean[draw] for e in row) / (5 * (alexnet - 0.43478)))
        assert robustness.mean_corruption_error(errors, names)[draw] == pytest.approx(
            sum(ces) / 15, rel=1e-6
        )
        assert robustness.relative_corruption_error(errors, clean, names)[draw] == pytest.approx(
            sum(relative) / 15, rel=1e-6
        )


def test_mce_of_other_corruptions_is_refused() -> None:
    with pytest.raises(CapsynthError, match="15 corruptions of ImageNet-C"):
        robustness.mean_corruption_error(np.ones((15, 3)), IMAGENET_C)
    with pytest.raises(CapsynthError, match="15 corruptions of ImageNet-C"):
        robustness.mean_corruption_error(np.ones((8, 5)), IMAGENET_C[:8])

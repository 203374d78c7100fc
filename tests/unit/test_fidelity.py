"""Fidelity and diversity, against other implementations and against exact arithmetic."""

import contextlib
import io
import itertools
import warnings
from typing import Any

import mpmath
import numpy as np
import numpy.typing as npt
import pytest
import scipy.linalg
from hypothesis import given
from hypothesis import strategies as st
from prdc import compute_prdc

from capsynth import fidelity
from capsynth.errors import CapsynthError
from capsynth.fidelity import (
    Manifolds,
    caveats,
    compare,
    frechet_distance,
    kernel_distance,
    manifolds,
    vendi_score,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from vendi_score import vendi

Doubles = npt.NDArray[np.float64]
RELATIVE = 1e-6


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks so small that every test has several."""
    monkeypatch.setattr(fidelity, "SIDE", 7)
    monkeypatch.setattr(fidelity, "BLOCK", 11)


def normal(seed: int, n: int, d: int, mean: float = 0.0, scale: float = 1.0) -> Doubles:
    """Return normal features whose dimensions are correlated and of very different spread."""
    mixing = np.random.default_rng(d).normal(size=(d, d)) * np.logspace(0, -2, d)
    return mean + scale * np.random.default_rng(seed).normal(size=(n, d)) @ mixing


def prdc(real: Doubles, synthetic: Doubles, k: int) -> Manifolds:
    with contextlib.redirect_stdout(io.StringIO()):
        return Manifolds(**compute_prdc(real, synthetic, k))


def by_pairs(real: Doubles, synthetic: Doubles, k: int, closed: bool = False) -> Manifolds:
    """The definitions, pair by pair, from differences: equal distances are exactly equal."""
    within = np.less_equal if closed else np.less

    def distance(x: Doubles, y: Doubles) -> float:
        return float(np.square(x - y).sum())

    def radii(points: Doubles) -> list[float]:
        return [
            sorted(distance(x, y) for j, y in enumerate(points) if j != i)[k - 1]
            for i, x in enumerate(points)
        ]

    real_radii, synthetic_radii = radii(real), radii(synthetic)
    table = np.array([[distance(x, y) for y in synthetic] for x in real])
    inside = within(table, np.array(real_radii)[:, None])
    return Manifolds(
        precision=float(inside.any(axis=0).mean()),
        recall=float(within(table, np.array(synthetic_radii)).any(axis=1).mean()),
        density=float(inside.sum() / (k * len(synthetic))),
        coverage=float(inside.any(axis=1).mean()),
    )


def close(a: Manifolds, b: Manifolds) -> None:
    assert vars(a) == pytest.approx(vars(b), rel=RELATIVE)


# ---- precision, recall, density, coverage -------------------------------------------------------

CLOUDS = {
    "alike": (normal(0, 60, 8), normal(10, 50, 8)),
    "shifted": (normal(1, 60, 8), normal(11, 50, 8, mean=0.5)),
    "apart": (normal(2, 40, 8), normal(12, 40, 8, mean=100.0)),
    "narrow": (normal(3, 60, 8), normal(13, 70, 8, scale=0.3)),
    "far from the origin": (normal(4, 60, 8, mean=1e4), normal(14, 50, 8, mean=1e4)),
    "fewer than dimensions": (normal(5, 12, 30), normal(15, 9, 30)),
    "one dimension": (normal(6, 60, 1), normal(16, 50, 1)),
    "larger than a block": (normal(7, 2100, 4), normal(17, 4200, 4)),
}


@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("name", CLOUDS)
def test_manifolds_are_those_of_prdc(name: str, k: int) -> None:
    real, synthetic = CLOUDS[name]
    close(manifolds(real, synthetic, k), prdc(real, synthetic, k))


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("name", [name for name in CLOUDS if not name.startswith("larger")])
def test_blocks_do_not_change_manifolds(name: str) -> None:
    real, synthetic = CLOUDS[name]
    close(manifolds(real, synthetic), prdc(real, synthetic, 5))


def grid(seed: int, n: int, values: int) -> Doubles:
    """Return points of a small grid: full of duplicates and equal distances."""
    return np.random.default_rng(seed).integers(values, size=(n, 3)).astype(np.float64)


@pytest.mark.usefixtures("small_blocks")
@given(
    st.integers(0, 2**32 - 1), st.integers(6, 40), st.integers(6, 40), st.integers(1, 4),
    st.integers(1, 5), st.sampled_from([0.0, 0.1, 1000.1]),
)  # fmt: skip
def test_duplicates_and_equal_distances_are_decided_as_if_nothing_were_rounded(
    seed: int, n: int, m: int, values: int, k: int, shift: float
) -> None:
    real, synthetic = grid(seed, n, values), grid(seed + 1, m, values)
    # A shift makes no point exact in binary, and moves no distance.
    close(manifolds(real + shift, synthetic + shift, k), by_pairs(real, synthetic, k))


def test_prdc_decides_equal_distances_of_whole_numbers_alike() -> None:
    real, synthetic = grid(0, 60, 4), grid(1, 50, 4)
    assert len(np.unique(real, axis=0)) < 50
    close(manifolds(real, synthetic, 3), prdc(real, synthetic, 3))


def test_of_copies_prdc_counts_some_that_lie_on_a_surface_and_this_counts_none() -> None:
    real = normal(8, 300, 64)
    synthetic = real[199::-1].copy()
    ours, theirs = manifolds(real, synthetic), prdc(real, synthetic, 5)
    close(ours, by_pairs(real, synthetic, 5))
    # Which of them it counts hangs on the last bits of a distance, and so on the machine.
    whole = by_pairs(real, synthetic, 5, closed=True)
    assert ours.density < whole.density
    for name, open_ball in vars(ours).items():
        bounds = open_ball * (1 - RELATIVE), getattr(whole, name) * (1 + RELATIVE)
        assert bounds[0] <= getattr(theirs, name) <= bounds[1]


def test_images_with_enough_duplicates_have_empty_balls() -> None:
    real = np.repeat(normal(9, 4, 16), 6, axis=0)
    assert manifolds(real, real.copy(), 5) == Manifolds(0.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize(("n", "m"), [(5, 20), (20, 5), (1, 20), (0, 20)])
def test_no_more_images_than_neighbours_have_no_manifolds(n: int, m: int) -> None:
    assert all(np.isnan(list(vars(manifolds(normal(0, n, 4), normal(1, m, 4), 5)).values())))


def test_one_image_more_than_neighbours_is_enough() -> None:
    # prdc asks for one more still, for no reason of the definition.
    real, synthetic = normal(0, 6, 4), normal(1, 6, 4)
    close(manifolds(real, synthetic, 5), by_pairs(real, synthetic, 5))


def test_features_in_half_precision_are_compared_in_double_precision() -> None:
    real, synthetic = (normal(seed, 50, 16).astype(np.float16) for seed in (0, 1))
    wide = compare(real.astype(np.float64), synthetic.astype(np.float64))
    assert vars(compare(real, synthetic)) == pytest.approx(vars(wide), rel=1e-12)


# ---- Fréchet distance ---------------------------------------------------------------------------


def by_roots(real: Doubles, synthetic: Doubles) -> float:
    """The formula with scipy's root of the product, as in the code of FID."""
    s1, s2 = np.cov(real, rowvar=False), np.cov(synthetic, rowvar=False)
    root = scipy.linalg.sqrtm(s1 @ s2)
    shift = real.mean(axis=0) - synthetic.mean(axis=0)
    return float(shift @ shift + np.trace(s1) + np.trace(s2) - 2 * np.trace(root).real)


def by_many_digits(real: Doubles, synthetic: Doubles) -> float:
    """The formula in arithmetic of 60 digits, which needs no stable way."""
    with mpmath.workdps(60):

        def moments(rows: Doubles) -> tuple[Any, Any]:
            n, d = rows.shape
            x = mpmath.matrix(rows.tolist())
            mean = [mpmath.fsum(x[i, j] for i in range(n)) / n for j in range(d)]
            centred = mpmath.matrix(n, d)
            for i in range(n):
                for j in range(d):
                    centred[i, j] = x[i, j] - mean[j]
            return mpmath.matrix(mean), centred.T * centred / (n - 1)

        (mean1, s1), (mean2, s2) = moments(real), moments(synthetic)
        values, _ = mpmath.eig(s1 * s2)
        common = mpmath.fsum(mpmath.sqrt(max(mpmath.re(value), 0)) for value in values)
        shift = mean1 - mean2
        traces = mpmath.fsum(s1[i, i] + s2[i, i] for i in range(s1.rows))
        return float((shift.T * shift)[0] + traces - 2 * common)


@pytest.mark.parametrize("name", ["alike", "shifted", "apart", "narrow", "larger than a block"])
def test_the_frechet_distance_is_that_of_scipy(name: str) -> None:
    real, synthetic = CLOUDS[name]
    expected = by_roots(real, synthetic)
    assert frechet_distance(real, synthetic) == pytest.approx(expected, rel=RELATIVE)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(
    ("n", "m", "d"), [(6, 6, 10), (2, 5, 4), (4, 30, 6), (30, 40, 6), (5, 5, 1)]
)
def test_the_frechet_distance_is_exact_for_fewer_images_than_dimensions(
    n: int, m: int, d: int
) -> None:
    real, synthetic = normal(n, n, d), normal(m + 100, m, d, mean=0.3)
    expected = by_many_digits(real, synthetic)
    assert frechet_distance(real, synthetic) == pytest.approx(expected, rel=1e-9)


def test_scipy_loses_digits_of_a_singular_product_that_are_kept_here() -> None:
    real, synthetic = np.repeat(normal(0, 4, 12), 3, axis=0), normal(1, 6, 12)
    exact = by_many_digits(real, synthetic)
    ours = abs(frechet_distance(real, synthetic) / exact - 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = abs(by_roots(real, synthetic) / exact - 1)
    assert ours < 1e-12
    assert not theirs < 1e-10


def test_the_frechet_distance_of_normal_distributions_that_are_known() -> None:
    # Two points at 0 and 2a have variance 2a²: deviations of 1 and 3, means of 0 and 4.
    real, synthetic = (
        np.array([[-(0.5**0.5)], [0.5**0.5]]),
        np.array([[4 - 4.5**0.5], [4 + 4.5**0.5]]),
    )
    assert frechet_distance(real, synthetic) == pytest.approx(4**2 + (3 - 1) ** 2)


def test_the_frechet_distance_of_a_set_to_itself_is_none() -> None:
    for real in (normal(0, 50, 8), normal(10, 5, 8), np.ones((4, 3)), normal(0, 50, 8, mean=1e6)):
        spread = float(real.var(axis=0).sum())
        assert 0 <= frechet_distance(real, real[::-1]) <= 1e-12 * spread + 1e-12


def test_one_image_has_no_frechet_distance() -> None:
    assert np.isnan(frechet_distance(normal(0, 1, 4), normal(1, 9, 4)))
    assert np.isnan(frechet_distance(normal(0, 9, 4), normal(1, 1, 4)))


# ---- kernel distance ----------------------------------------------------------------------------


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(("n", "m", "d"), [(40, 40, 8), (23, 31, 5), (9, 30, 40), (2, 2, 1)])
def test_the_kernel_distance_is_the_mean_over_pairs(n: int, m: int, d: int) -> None:
    real, synthetic = normal(n, n, d), normal(m + 100, m, d, mean=0.3)

    def kernel(x: Doubles, y: Doubles) -> float:
        return float((x @ y / d + 1) ** 3)

    def within(rows: Doubles) -> float:
        return float(np.mean([kernel(x, y) for x, y in itertools.permutations(rows, 2)]))

    between = float(np.mean([kernel(x, y) for x in real for y in synthetic]))
    expected = within(real) + within(synthetic) - 2 * between
    assert kernel_distance(real, synthetic) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", ["alike", "shifted", "apart", "narrow"])
def test_the_kernel_distance_is_that_of_torchmetrics(name: str) -> None:
    import torch
    from torchmetrics.image.kid import poly_mmd

    # It takes sets of one size.
    real, synthetic = (rows[:40] for rows in CLOUDS[name])
    expected = float(poly_mmd(torch.from_numpy(real), torch.from_numpy(synthetic)))
    assert kernel_distance(real, synthetic) == pytest.approx(expected, rel=RELATIVE)


def test_the_kernel_distance_is_unbiased_where_the_frechet_distance_is_not() -> None:
    rng = np.random.default_rng(0)
    pairs = [rng.normal(size=(2, 30, 4)) for _ in range(400)]
    kernel = np.array([kernel_distance(*pair) for pair in pairs])
    assert abs(kernel.mean()) < 3 * kernel.std() / len(pairs) ** 0.5
    frechet = np.array([frechet_distance(*pair) for pair in pairs])
    # Means alone add 2 / 30 a dimension.
    assert frechet.min() > 0
    assert frechet.mean() > 4 * 2 / 30
    assert (kernel < 0).any()


def test_one_image_has_no_kernel_distance() -> None:
    assert np.isnan(kernel_distance(normal(0, 1, 4), normal(1, 9, 4)))
    assert np.isnan(kernel_distance(normal(0, 9, 4), normal(1, 1, 4)))


# ---- Vendi score --------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("n", "d"), [(40, 8), (8, 40), (8, 8), (1, 5), (5, 1), (4200, 6)])
def test_the_vendi_score_is_that_of_vendi_score(n: int, d: int) -> None:
    features = normal(n, n, d, mean=0.2)
    for reference in (vendi.score_X, vendi.score_dual):
        if reference is vendi.score_dual or n < 1000:
            assert vendi_score(features) == pytest.approx(reference(features), rel=RELATIVE)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_duplicates_add_nothing_to_the_vendi_score() -> None:
    features = normal(0, 6, 20)
    twice = np.repeat(features, 5, axis=0)
    assert vendi_score(twice) == pytest.approx(vendi_score(features), rel=1e-12)
    assert vendi_score(twice) == pytest.approx(vendi.score_X(twice), rel=RELATIVE)


def test_the_vendi_score_counts_orthogonal_images() -> None:
    assert vendi_score(np.eye(7)) == pytest.approx(7)
    assert vendi_score(3 * np.eye(7)[:, :5][:5]) == pytest.approx(5)
    assert vendi_score(np.ones((9, 4))) == pytest.approx(1)
    assert np.isnan(vendi_score(np.ones((0, 4))))


def test_an_image_without_direction_is_refused() -> None:
    with pytest.raises(CapsynthError, match="all zeros, which has no direction"):
        vendi_score(np.zeros((3, 4)))


# ---- caveats ---------------------------------------------------------------------------


def test_numbers_of_few_images_are_said_to_be_so() -> None:
    assert caveats(50_000, 50_000, 768) == []
    (biased,) = caveats(40, 40, 128)
    assert "40 images span less than the 128 dimensions" in biased
    few = " ".join(caveats(1, 3, 8))
    assert "needs two images" in few
    assert "more than 5 images" in few
    assert "1 real and 3 synthetic" in few


def test_features_of_other_extractors_or_not_finite_are_refused() -> None:
    with pytest.raises(CapsynthError, match=r"\(9, 4\) and \(9, 5\) are not comparable"):
        compare(normal(0, 9, 4), normal(1, 9, 5))
    broken = normal(1, 9, 4)
    broken[3, 2] = np.nan
    for function in (frechet_distance, manifolds, compare):
        with pytest.raises(CapsynthError, match="not finite"):
            function(normal(0, 9, 4), broken)
    with pytest.raises(CapsynthError, match="0 neighbours"):
        manifolds(normal(0, 9, 4), normal(1, 9, 4), 0)

"""Standard errors of numbers of two sets of images, against simulations with a known truth."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from capsynth.errors import CapsynthError
from capsynth.fidelity import compare, frechet_distance, kernel_distance, vendi_score
from capsynth.fidelity_errors import _quarters, standard_errors

Doubles = npt.NDArray[np.float64]
Draw = Callable[[np.random.Generator], tuple[Doubles, Doubles]]


def keys(n: int) -> npt.NDArray[np.str_]:
    return np.array([f"k{i:05d}" for i in range(n)])


def ones(n: int) -> npt.NDArray[np.str_]:
    return np.array(["a"] * n)


def normals(n: int, d: int, mean: float, scale: float = 1.0) -> Draw:
    """Two samples of normal distributions of uneven spread, the second moved and scaled."""
    spread = np.linspace(0.5, 2, d)

    def draw(rng: np.random.Generator) -> tuple[Doubles, Doubles]:
        return rng.normal(0, spread, (n, d)), rng.normal(mean, scale * spread, (n, d))

    return draw


def ratios(draw: Draw, score: Callable[..., list[float]], repeats: int, estimates: int) -> Doubles:
    """Mean standard error over the spread of the numbers over fresh images."""
    rng = np.random.default_rng(0)
    truth = np.std([score(*draw(rng)) for _ in range(repeats)], axis=0, ddof=1)
    found = []
    for _ in range(estimates):
        a, b = draw(rng)
        found.append(
            standard_errors(
                lambda i, j, a=a, b=b: score(a[i], b[j]),
                (keys(len(a)), keys(len(b))),
                (ones(len(a)), ones(len(b))),
                draws=4,
            )
        )
    return np.mean(found, axis=0) / truth


def distances(a: Doubles, b: Doubles) -> list[float]:
    return [frechet_distance(a, b), kernel_distance(a, b), vendi_score(b)]


# Random halves gave 1.65, 1.17 and 1.10 times the spread of the Fréchet distance here.
@pytest.mark.parametrize(
    ("mean", "scale"), [(0.0, 1.0), (0.3, 1.0), (1.0, 0.7)], ids=["alike", "near", "far"]
)
def test_standard_errors_are_the_spread_over_new_images(mean: float, scale: float) -> None:
    found = ratios(normals(100, 6, mean, scale), distances, 1000, 200)
    assert ((found > 0.9) & (found < 1.1)).all(), found


@pytest.mark.slow
def test_standard_errors_of_shares_are_near_the_spread_over_new_images() -> None:
    def shares(a: Doubles, b: Doubles) -> list[float]:
        scores = compare(a, b).scores
        return [scores[name] for name in ("precision", "recall", "density", "coverage")]

    found = ratios(normals(300, 6, 0.3), shares, 400, 60)
    assert ((found > 0.8) & (found < 1.2)).all(), found


def test_a_mean_has_the_standard_error_of_a_mean_within_classes() -> None:
    rng = np.random.default_rng(0)
    class_ids = np.repeat(["a", "b"], 200)
    values = rng.normal(size=400) + 50 * (class_ids == "b")
    (found,) = standard_errors(
        lambda _, j: [values[j].mean()],
        (keys(400), keys(400)), (class_ids, class_ids), draws=400,
    )  # fmt: skip
    within = [values[class_ids == name].var(ddof=1) for name in ("a", "b")]
    assert found == pytest.approx(np.sqrt(np.mean(within) / 400), rel=0.05)


def test_images_of_one_source_vary_together() -> None:
    values = np.repeat(np.random.default_rng(0).normal(size=100), 4)
    sources = np.repeat(keys(100), 4)
    (found,) = standard_errors(
        lambda _, j: [values[j].mean()],
        (keys(400), sources), (ones(400), ones(400)), draws=400,
    )  # fmt: skip
    assert found == pytest.approx(values[::4].std(ddof=1) / 10, rel=0.05)


def test_pairs_vary_together() -> None:
    values = np.random.default_rng(0).normal(size=100)
    turned = np.arange(100)[::-1]
    names = (keys(100), keys(100)[turned])
    for paired, expected in ((True, 0.0), (False, 2**0.5 * values.std(ddof=1) / 10)):
        (found,) = standard_errors(
            lambda i, j: [values[i].mean() - values[turned][j].mean()],
            names, (ones(100), ones(100)), draws=200, paired=paired,
        )  # fmt: skip
        assert found == pytest.approx(expected, rel=0.1, abs=1e-12)


def test_quarters_are_of_one_size_in_all_and_in_each_class() -> None:
    class_ids = np.array(["a"] * 10 + ["b"] * 21)
    for seed in range(20):
        labels = _quarters(keys(31), class_ids, np.random.default_rng(seed))
        assert sorted(np.bincount(labels)) == [7, 8, 8, 8]
        for name in ("a", "b"):
            sizes = np.bincount(labels[class_ids == name], minlength=4)
            assert sizes.max() - sizes.min() <= 2


def test_a_quarter_without_a_number_gives_no_error_and_the_seed_decides() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 31, 3))

    def errors(n: int, seed: int) -> list[float]:
        return standard_errors(
            lambda i, j: [frechet_distance(a[i], b[j])],
            (keys(31)[:n], keys(31)[:n]), (ones(n), ones(n)), draws=3, seed=seed,
        )  # fmt: skip

    assert errors(31, 1) == errors(31, 1)
    assert errors(31, 1) != errors(31, 2)
    assert np.isnan(errors(7, 0)).all()
    with pytest.raises(CapsynthError, match="0 draws have no spread"):
        standard_errors(lambda i, j: [0.0], (keys(8),) * 2, (ones(8),) * 2, draws=0)

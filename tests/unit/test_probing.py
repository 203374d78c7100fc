"""Probes of frozen features, against scikit-learn."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from capsynth import probing


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = rng.integers(4, size=120)
    centres = rng.normal(size=(4, 12))
    train = (centres[y] + rng.normal(size=(120, 12))).astype(np.float32)
    test = (centres[rng.integers(4, size=70)] + rng.normal(size=(70, 12))).astype(np.float32)
    return train, y, test


@pytest.mark.parametrize("c", [0.01, 1.0, 10.0])
def test_the_linear_probe_is_scikit_learns_logistic_regression(
    data: tuple[np.ndarray, np.ndarray, np.ndarray], c: float
) -> None:
    train, y, _ = data
    x = StandardScaler().fit_transform(train.astype(np.float64))
    known = LogisticRegression(C=c, tol=1e-10, max_iter=10_000).fit(x, y)
    weights, intercepts = probing.fit_linear(x, y, 4, c)
    assert weights == pytest.approx(known.coef_, abs=1e-5)
    assert intercepts - intercepts.mean() == pytest.approx(
        known.intercept_ - known.intercept_.mean(), abs=1e-5
    )


def test_its_probabilities_are_those_of_standardised_features(
    data: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    train, y, test = data
    scaler = StandardScaler()
    x = scaler.fit_transform(train.astype(np.float64))
    known = LogisticRegression(tol=1e-10, max_iter=10_000).fit(x, y)
    expected = known.predict_proba(scaler.transform(test.astype(np.float64)))
    assert probing.linear_probe(train, y, test, 4) == pytest.approx(expected, abs=1e-6)


def test_a_feature_that_never_varies_changes_nothing(
    data: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    train, y, test = data

    def dead(x: np.ndarray) -> np.ndarray:
        return np.concatenate([x, np.full((len(x), 1), 3.3, dtype=np.float32)], axis=1)

    test_with = dead(test)
    test_with[:, -1] = 5.0
    expected = probing.linear_probe(train, y, test, 4)
    assert probing.linear_probe(dead(train), y, test_with, 4) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("k", [1, 5, 20])
def test_nearest_neighbours_are_scikit_learns(
    data: tuple[np.ndarray, np.ndarray, np.ndarray], k: int
) -> None:
    train, y, test = data
    known = KNeighborsClassifier(
        k, metric="cosine", algorithm="brute", weights=lambda d: np.exp((1 - d) / 0.07)
    ).fit(train.astype(np.float64), y)
    found = probing.nearest_neighbours(train, y, test, 4, k)
    assert found == pytest.approx(known.predict_proba(test.astype(np.float64)), abs=1e-6)


def test_fewer_images_than_neighbours_all_have_a_say() -> None:
    train = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 2.0]])
    found = probing.nearest_neighbours(train, np.array([0, 1, 1]), np.array([[0.0, 5.0]]), 2, 20)
    # Cosines 0, 1 and 1.
    weights = np.exp(np.array([0.0, 2.0 / 1.0 * 0.0]) / 0.07)
    assert weights[0] == 1.0
    expected = np.exp(0.0) / (np.exp(0.0) + 2 * np.exp(1 / 0.07))
    assert found[0] == pytest.approx([expected, 1 - expected])


def test_half_of_each_class_fits_and_stays_when_classes_are_added() -> None:
    classes = ["a"] * 5 + ["b"] * 4
    keys = [f"{i}" for i in range(9)]
    fits = probing.fitting_half(classes, keys)
    assert [int(fits[:5].sum()), int(fits[5:].sum())] == [3, 2]
    more = probing.fitting_half([*classes, "c"], [*keys, "9"])
    assert more[:9].tolist() == fits.tolist()
    order = np.random.default_rng(0).permutation(9)
    shuffled = probing.fitting_half([classes[i] for i in order], [keys[i] for i in order])
    assert shuffled.tolist() == fits[order].tolist()

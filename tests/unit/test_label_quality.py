"""Confident learning against the paper's formula, cleanlab's numbers and known wrong labels."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from capsynth import label_quality as quality

Floats = npt.NDArray[np.floating]
Integers = npt.NDArray[np.integer]


def answers(
    rng: np.random.Generator, true: Integers, classes: int, skill: float, temperature: float = 1.0
) -> Floats:
    """Return probabilities of a classifier: scores around 0, those of the true class at ``skill``.

    At temperature 1 they are the posterior, so the classifier is calibrated; below it is too sure.
    """
    scores = rng.normal(size=(len(true), classes))
    scores[np.arange(len(true)), true] += skill
    logits = skill * scores / temperature
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    made: Floats = odds / odds.sum(axis=1, keepdims=True)
    return made


def test_the_confident_joint_of_six_images_is_that_found_by_hand() -> None:
    # t_0 = (0.9 + 0.5 + 0.1) / 3 = 0.5, t_1 = (0.8 + 0.4 + 0.6) / 3 = 0.6.
    sure = np.array([0.9, 0.5, 0.1, 0.2, 0.6, 0.4])
    probabilities, labels = np.stack([sure, 1 - sure], axis=1), np.array([0, 0, 0, 1, 1, 1])
    assert quality.thresholds(probabilities, labels) == pytest.approx([0.5, 0.6])
    joint = quality.confident_joint(probabilities, labels)
    # 0.9 and 0.5 are 0 and stay, 0.1 is 1; of label 1, 0.8 and 0.6 are 1 and 0.4 is 0.
    assert joint.tolist() == [[2, 1], [1, 2]]
    assert quality.estimated_joint(joint, np.array([3, 3])).tolist() == pytest.approx(
        np.array([[1 / 3, 1 / 6], [1 / 6, 1 / 3]])
    )
    # Labels that are not equally frequent weigh by their number.
    assert quality.estimated_joint(np.array([[1, 1], [0, 4]]), np.array([30, 10])).tolist() == [
        [0.375, 0.375],
        [0.0, 0.25],
    ]


def by_the_formula(probabilities: Floats, labels: Integers) -> Integers:
    """Return the confident joint by loops over equations 1 and 2 of the paper."""
    classes = probabilities.shape[1]
    limits = [
        sum(p[j] for p, y in zip(probabilities, labels, strict=True) if y == j)
        / max(1, sum(labels == j))
        for j in range(classes)
    ]
    joint = np.zeros((classes, classes), dtype=np.int64)
    for p, y in zip(probabilities, labels, strict=True):
        above = [j for j in range(classes) if p[j] >= limits[j] and (labels == j).any()]
        if above:
            joint[y, max(above, key=lambda j: p[j])] += 1
    return joint


@pytest.mark.parametrize("seed", range(20))
def test_the_confident_joint_is_that_of_loops_over_the_formula(seed: int) -> None:
    rng = np.random.default_rng(seed)
    classes = int(rng.integers(2, 9))
    true = rng.integers(classes, size=150)
    labels = np.where(rng.random(150) < 0.2, rng.integers(classes, size=150), true)
    if seed % 4 == 0:  # a class that no image is labelled with
        labels[labels == classes - 1] = 0
    probabilities = answers(rng, true, classes, 1.5)
    joint = quality.confident_joint(probabilities, labels)
    assert joint.tolist() == by_the_formula(probabilities, labels).tolist()
    limits = quality.thresholds(probabilities, labels)
    chosen = quality.confident_classes(quality.candidates(probabilities, limits), limits)
    shares = quality.wrong_shares(chosen, labels, np.ones(150), classes)
    estimated = quality.estimated_joint(joint, np.bincount(labels, minlength=classes))
    assert shares[0] == pytest.approx(1 - np.trace(estimated), abs=1e-12)
    # Fewer candidates than all give the same classes: what is below every threshold never counts.
    every = quality.candidates(probabilities, np.zeros(classes))
    assert quality.confident_classes(every, limits).tolist() == chosen.tolist()
    # An image that counts twice is an image that stands there twice.
    twice = np.concatenate([np.arange(150), np.arange(40)])
    weights = np.bincount(twice, minlength=150).astype(float)
    assert quality.thresholds(probabilities, labels, weights) == pytest.approx(
        quality.thresholds(probabilities[twice], labels[twice])
    )


def test_joints_are_those_of_cleanlab() -> None:
    # cleanlab 2.9.0: compute_confident_joint(calibrate=False), and estimate_joint of it without
    # its rounding to whole images.
    rng = np.random.default_rng(7)
    true = rng.integers(4, size=200)
    labels = np.where(rng.random(200) < 0.25, rng.integers(4, size=200), true)
    scores = rng.normal(size=(200, 4))
    scores[np.arange(200), true] += 2
    odds = np.exp(scores)
    probabilities = odds / odds.sum(axis=1, keepdims=True)
    joint = quality.confident_joint(probabilities, labels)
    assert joint.tolist() == [[30, 4, 3, 6], [2, 24, 1, 6], [1, 6, 29, 0], [4, 3, 0, 29]]
    expected = [
        [0.18837209302325583, 0.025116279069767444, 0.018837209302325582, 0.037674418604651164],
        [0.01393939393939394, 0.16727272727272727, 0.00696969696969697, 0.04181818181818182],
        [0.007083333333333333, 0.0425, 0.2054166666666667, 0.0],
        [0.027222222222222217, 0.020416666666666666, 0.0, 0.1973611111111111],
    ]
    found = quality.estimated_joint(joint, np.bincount(labels, minlength=4))
    assert np.abs(found - expected).max() < 1e-9


def test_an_image_above_several_thresholds_counts_once_and_one_below_all_not_at_all() -> None:
    probabilities = np.array([[0.5, 0.3, 0.2], [0.34, 0.33, 0.33], [0.1, 0.45, 0.45]])
    found = quality.candidates(probabilities, np.array([0.4, 0.25, 0.4]))
    limits = np.array([0.6, 0.25, 0.4])
    # The most probable class of the first, 0, is below its own threshold.
    assert quality.confident_classes(found, limits).tolist() == [1, 1, 1]
    assert quality.confident_classes(found, np.array([0.6, 0.4, 0.5])).tolist() == [-1, -1, 1]
    shares = quality.wrong_shares(np.array([-1, 1, -1]), np.array([0, 0, 2]), np.ones(3), 3)
    assert shares[:2].tolist() == [1.0, 1.0]
    assert np.isnan(shares[2:]).all()


def simulate(
    draws: int,
    wrong: float,
    skill: float,
    temperature: float = 1.0,
    of_class: bool = False,
    real_skill: float | None = None,
) -> npt.NDArray[np.float64]:
    """Return mean shares in percent over draws of 400 images of ten classes: see ``CASES``.

    Args:
        draws: Number of data sets.
        wrong: Share of the labels that are wrong.
        skill: Of the classifier on the images.
        temperature: 1 for a calibrated classifier.
        of_class: Whether only class 0 has wrong labels, its images then being of class 1.
        real_skill: Of the classifier on the real images that give thresholds; None for the same.
    """
    shares = []
    for seed in range(draws):
        rng = np.random.default_rng(seed)
        truth = np.repeat(np.arange(10), 40)
        flipped = rng.random(400) < wrong
        if of_class:
            labels, truth = truth, np.where(flipped & (truth == 0), 1, truth)
        else:
            labels = np.where(flipped, (truth + rng.integers(1, 10, size=400)) % 10, truth)
        probabilities = answers(rng, truth, 10, skill, temperature)
        real = np.repeat(np.arange(10), 40)
        of_real = answers(rng, real, 10, real_skill or skill, temperature)
        place, found = 1 if of_class else 0, []
        for limits in (
            quality.thresholds(probabilities, labels),
            quality.thresholds(of_real, real),
        ):
            chosen = quality.confident_classes(quality.candidates(probabilities, limits), limits)
            found.append(quality.wrong_shares(chosen, labels, np.ones(400), 10)[place])
        for flags in (probabilities.argmax(axis=1) != labels, truth != labels):
            found.append(quality.plain_shares(flags, labels, np.ones(400), 10)[place])
        shares.append(found)
    means: npt.NDArray[np.float64] = 100 * np.nanmean(shares, axis=0)
    return means


# The table of docs/label-quality.md: estimate, by real thresholds, disagreement, in fact.
CASES: dict[str, tuple[dict[str, float | bool], tuple[float, float, float, float]]] = {
    "none": ({"wrong": 0.0, "skill": 3.0}, (2.2, 2.3, 9.7, 0.0)),
    "none, weak": ({"wrong": 0.0, "skill": 2.0}, (19.5, 20.0, 32.6, 0.0)),
    "10 %": ({"wrong": 0.1, "skill": 3.0}, (12.9, 12.0, 18.6, 10.0)),
    "10 %, weak": ({"wrong": 0.1, "skill": 2.0}, (29.5, 27.7, 38.9, 10.0)),
    "30 %": ({"wrong": 0.3, "skill": 3.0}, (33.8, 31.6, 36.4, 30.0)),
    "10 %, too sure": (
        {"wrong": 0.1, "skill": 2.0, "temperature": 0.5},
        (33.9, 32.6, 38.9, 10.0),
    ),
    "10 %, less sure of these images": (
        {"wrong": 0.1, "skill": 2.0, "real_skill": 3.0},
        (29.5, 16.2, 38.9, 10.0),
    ),
    "half of a class": (
        {"wrong": 0.5, "skill": 3.0, "of_class": True},
        (45.6, 50.9, 54.2, 50.0),
    ),
    "all of a class": (
        {"wrong": 1.0, "skill": 3.0, "of_class": True},
        (90.4, 99.8, 98.9, 100.0),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_known_wrong_labels_are_found_with_the_bias_that_the_documentation_says(name: str) -> None:
    settings, expected = CASES[name]
    # 150 draws know these means to about 0.3 points, those of one class of 40 images to 0.8.
    tolerance = 2.5 if settings.get("of_class") else 1.0
    found = simulate(150, **settings)  # type: ignore[arg-type]  # numbers and one truth value
    assert found == pytest.approx(expected, abs=tolerance)


def test_the_documentation_shows_these_numbers(repository: Path) -> None:
    text = (repository / "docs" / "label-quality.md").read_text(encoding="utf-8")
    for _, numbers in CASES.values():
        estimate, by_real, disagreement, truth = numbers
        assert f"| {truth:.0f} | {estimate} | {by_real} | {disagreement} |" in text

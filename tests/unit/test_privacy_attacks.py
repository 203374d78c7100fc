import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from capsynth.privacy import attacks, roc

SEEDS = st.integers(0, 2**32 - 1)


def answers(seed: int, n: int = 50, classes: int = 6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(classes, 0.3), size=n).astype(np.float32)
    return probabilities, rng.integers(classes, size=n)


def naive_paper_attack(members: np.ndarray, nonmembers: np.ndarray, kind: str) -> float:
    """The attack as a loop over sorted scores that moves one sample at a time to the other side."""
    labelled = [(float(p), 1) for p in members] + [(float(p), 0) for p in nonmembers]
    by_score = [labelled[i] for i in np.argsort([score for score, _ in labelled], kind=kind)]
    members_left, nonmembers_left, best = len(members), len(nonmembers), 0.0
    for _, label in by_score:
        true_positive_rate = members_left / len(members)
        true_negative_rate = (len(nonmembers) - nonmembers_left) / len(nonmembers)
        best = max(best, 0.5 * (true_positive_rate + true_negative_rate))
        if label:
            members_left -= 1
        else:
            nonmembers_left -= 1
    return best


@given(st.integers(1, 80), st.integers(1, 80), SEEDS)
def test_the_papers_attack_is_a_naive_loop_bit_for_bit(
    members: int, nonmembers: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    inside, outside = rng.beta(3, 1, members), rng.beta(2, 1, nonmembers)
    found = attacks.paper_attack(inside, outside)
    assert found == naive_paper_attack(inside, outside, "quicksort")


@given(
    st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=40),
    st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=40),
)
def test_with_ties_the_papers_attack_is_the_loop_over_a_stable_sort(
    members: list[float], nonmembers: list[float]
) -> None:
    inside, outside = np.array(members), np.array(nonmembers)
    found = attacks.paper_attack(inside, outside)
    assert found == naive_paper_attack(inside, outside, "stable")
    # No threshold falls between equal scores: it is the best of real ones.
    scores, member = (
        np.concatenate([inside, outside]),
        np.arange(len(members) + len(nonmembers)) < len(members),
    )
    curve = roc.roc(roc.rank(scores, member), np.ones((1, len(scores))))
    assert found == pytest.approx(roc.best_accuracy(curve)[0])


def test_the_papers_attack_finds_a_leak_in_pure_noise() -> None:
    rng = np.random.default_rng(0)
    embedded = [attacks.paper_attack(rng.random(16), rng.random(400)) for _ in range(300)]
    full = attacks.paper_attack(rng.random(51_248), rng.random(50_000))
    assert min(embedded) >= 0.5
    assert np.mean(embedded) > 0.56
    assert 0.5 < full < 0.506


def test_the_papers_members_are_the_first_two_of_every_fifty() -> None:
    assert attacks.paper_members(103).tolist() == [0, 1, 50, 51, 100, 101]
    assert attacks.paper_members(1).tolist() == [0]
    # ImageNet's training images.
    assert len(attacks.paper_members(1_281_167)) == 51_248


@given(SEEDS)
def test_scores_agree_with_naive_loops(seed: int) -> None:
    probabilities, target = answers(seed)
    tiny = 1.1754943508222875e-38
    for row, true, confidence, entropy, modified, scaled in zip(
        probabilities.tolist(),
        target,
        attacks.confidence(probabilities, target),
        attacks.entropy(probabilities, target),
        attacks.modified_entropy(probabilities, target),
        attacks.scaled_confidence(probabilities, target),
        strict=True,
    ):
        others = [p for index, p in enumerate(row) if index != true]
        assert confidence == row[true]
        assert entropy == pytest.approx(sum(p * math.log(max(p, tiny)) for p in row), rel=1e-9)
        assert modified == pytest.approx(
            sum(others) * math.log(max(row[true], tiny))
            + sum(p * math.log(max(1 - p, tiny)) for p in others),
            rel=1e-9,
            abs=1e-12,
        )
        assert scaled == pytest.approx(
            math.log(max(row[true], tiny)) - math.log(max(sum(others), tiny)), rel=1e-9
        )


def test_scores_of_a_sure_answer_are_finite_and_told_apart() -> None:
    # In single precision all three have a true-class probability of 1.
    probabilities = np.array([[1.0, 1e-10], [1.0, 1e-20], [1.0, 0.0], [0.0, 1.0]], dtype=np.float32)
    target = np.zeros(4, dtype=int)
    scaled = attacks.scaled_confidence(probabilities, target)
    assert scaled[0] < scaled[1] < scaled[2]
    assert scaled[3] < -80
    for score in attacks.SCORES.values():
        assert np.isfinite(score.function(probabilities, target)).all()


@given(SEEDS)
def test_the_loss_and_the_scaled_confidence_rank_as_the_confidence_does(seed: int) -> None:
    probabilities, target = answers(seed)
    confidence = attacks.confidence(probabilities, target).round(3)
    member = np.arange(len(target)) % 2 == 0
    areas = [
        roc.auc(roc.roc(roc.rank(scores, member), np.ones((1, len(target)))))[0]
        for scores in (
            confidence,
            np.log(confidence + 1e-9),
            np.log((confidence + 1e-9) / (1 - confidence + 1e-9)),
        )
    ]
    assert areas[0] == pytest.approx(areas[1]) == pytest.approx(areas[2])


def test_scores_find_the_members_of_a_model_that_is_surer_of_them() -> None:
    rng = np.random.default_rng(3)
    target = rng.integers(6, size=2000)
    member = np.arange(2000) < 1000
    logits = rng.normal(size=(2000, 6))
    logits[np.arange(2000), target] += 1.0 + 2.0 * member
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    for name, score in attacks.SCORES.items():
        scores = score.function(probabilities, target)
        area = roc.auc(roc.roc(roc.rank(scores, member), np.ones((1, 2000))))[0]
        assert area > 0.7, name

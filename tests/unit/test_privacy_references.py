import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from capsynth import statistics
from capsynth.errors import CapsynthError
from capsynth.privacy import references, roc
from capsynth.privacy.references import Answers

SEEDS = st.integers(0, 2**32 - 1)


def halves(n: int, models: int) -> np.ndarray:
    return np.array(
        [[references.in_reference_half(str(i), m) for i in range(n)] for m in range(models)]
    )


def random_answers(seed: int, n: int = 12, models: int = 8, logits: bool = True) -> Answers:
    rng = np.random.default_rng(seed)
    target, others = rng.normal(size=n), rng.normal(size=(models, n))
    seen = halves(n, models)
    if logits:
        return Answers(target, others, seen)
    return Answers(1 / (1 + np.exp(-target)), 1 / (1 + np.exp(-others)), seen)


def sides(answers: Answers, i: int) -> tuple[list[float], list[float]]:
    column, seen = answers.references[:, i].tolist(), answers.seen[:, i].tolist()
    return (
        [value for value, s in zip(column, seen, strict=True) if s],
        [value for value, s in zip(column, seen, strict=True) if not s],
    )


def area(scores: np.ndarray, member: np.ndarray) -> float:
    return float(roc.auc(roc.roc(roc.rank(scores, member), np.ones((1, len(scores)))))[0])


@settings(max_examples=15)
@given(SEEDS)
def test_lira_with_a_variance_each_agrees_with_algorithm_1(seed: int) -> None:
    answers = random_answers(seed)
    online = references.lira_online(answers, fixed_variance=False)
    offline = references.lira_offline(answers, fixed_variance=False)
    for i in range(12):
        inside, outside = sides(answers, i)
        gaussian_in = stats.norm(np.mean(inside), np.std(inside))
        gaussian_out = stats.norm(np.mean(outside), np.std(outside))
        ratio = gaussian_in.logpdf(answers.target[i]) - gaussian_out.logpdf(answers.target[i])
        assert online[i] == pytest.approx(ratio, rel=1e-6)
        assert stats.norm.cdf(offline[i]) == pytest.approx(
            1 - gaussian_out.sf(answers.target[i]), rel=1e-6
        )


@settings(max_examples=30)
@given(SEEDS)
def test_lira_with_a_fixed_variance_agrees_with_a_naive_loop(seed: int) -> None:
    answers = random_answers(seed)
    squares, of_out = [], []
    for i in range(12):
        for values in sides(answers, i):
            squares += [(value - sum(values) / len(values)) ** 2 for value in values]
        outside = sides(answers, i)[1]
        of_out += [(value - sum(outside) / len(outside)) ** 2 for value in outside]
    variance, variance_out = sum(squares) / len(squares), sum(of_out) / len(of_out)
    online, offline = references.lira_online(answers), references.lira_offline(answers)
    for i in range(12):
        inside, outside = sides(answers, i)
        mean_in, mean_out = sum(inside) / len(inside), sum(outside) / len(outside)
        x = answers.target[i]
        ratio = ((x - mean_out) ** 2 - (x - mean_in) ** 2) / (2 * variance)
        assert online[i] == pytest.approx(ratio, rel=1e-6, abs=1e-9)
        z = (x - mean_out) / math.sqrt(variance_out)
        assert offline[i] == pytest.approx(z, rel=1e-6, abs=1e-9)


@settings(max_examples=40)
@given(SEEDS, st.sampled_from([1.0, 1.5, 2.0]), st.floats(0, 1))
def test_rmia_agrees_with_a_naive_loop_over_pairs(seed: int, gamma: float, a: float) -> None:
    samples = random_answers(seed, logits=False)
    held_out = random_answers(seed + 1, n=9, logits=False)
    population = Answers(held_out.target, held_out.references, np.zeros((8, 9), dtype=bool))

    def ratio(answers: Answers, i: int, online: bool) -> float:
        inside, outside = sides(answers, i)
        p_out = sum(outside) / len(outside)
        if online:
            p = (sum(inside) / len(inside) + p_out) / 2 if inside else p_out
        else:
            p = ((1 + a) * p_out + (1 - a)) / 2
        return answers.target[i] / p

    for online in (True, False):
        expected = [
            sum(ratio(samples, i, online) / ratio(population, j, online) >= gamma for j in range(9))
            / 9
            for i in range(12)
        ]
        found = (
            references.rmia_online(samples, population, gamma)
            if online
            else references.rmia_offline(samples, population, gamma, a)
        )
        assert found.tolist() == pytest.approx(expected, rel=1e-12)


def simulated(
    rng: np.random.Generator, n: int, models: int, gain: float
) -> tuple[Answers, np.ndarray]:
    """Logits of samples of unlike difficulty; a model that saw a sample gains on it."""
    difficulty = rng.normal(0, 3, n)
    member = np.arange(n) < n // 2
    seen = halves(n, models)
    noise = rng.normal(size=(models + 1, n))
    references_ = difficulty + gain * seen + noise[1:]
    return Answers(difficulty + gain * member + noise[0], references_, seen), member


def test_lira_reaches_the_area_that_theory_gives_it() -> None:
    models, gain = 64, 1.0
    answers, member = simulated(np.random.default_rng(1), 20_000, models, gain)
    # Offline: the difference to the mean of m models is a Gaussian of variance 1 + 1/m.
    offline = stats.norm.cdf(gain / math.sqrt(2 * (1 + 2 / models)))
    assert area(references.lira_offline(answers), member) == pytest.approx(offline, abs=0.01)
    # Online with known means would be the optimal test, whose area is Φ(gain/√2).
    best = stats.norm.cdf(gain / math.sqrt(2))
    online = area(references.lira_online(answers), member)
    assert best - 0.02 < online < best + 0.01
    # The score alone hardly sees it, difficulty being what it mostly shows.
    alone = stats.norm.cdf(gain / math.sqrt(2 * (1 + 9)))
    assert area(answers.target, member) == pytest.approx(alone, abs=0.01)


def probabilities(answers: Answers) -> Answers:
    return Answers(
        1 / (1 + np.exp(-answers.target)), 1 / (1 + np.exp(-answers.references)), answers.seen
    )


def test_reference_models_show_what_the_score_alone_does_not() -> None:
    rng = np.random.default_rng(2)
    answers, member = simulated(rng, 6000, 8, 1.5)
    population, _ = simulated(rng, 2000, 8, 1.5)
    # The population: not seen by the attacked model.
    population = probabilities(
        Answers(
            population.target - 1.5 * (np.arange(2000) < 1000),
            population.references - 1.5 * population.seen,
            np.zeros((8, 2000), dtype=bool),
        )
    )
    alone = area(answers.target, member)
    assert alone < 0.65
    for scores in (
        references.lira_online(answers),
        references.lira_offline(answers),
        references.rmia_online(probabilities(answers), population),
        references.rmia_offline(probabilities(answers), population),
    ):
        assert area(scores, member) > alone + 0.05


ATTACKS = ("lira-online", "lira-offline", "lira-online-own", "rmia-online", "rmia-offline")


@pytest.mark.parametrize("attack", ATTACKS)
def test_without_a_leak_the_area_is_one_half_as_often_as_its_interval_says(attack: str) -> None:
    rng = np.random.default_rng(3)
    n, models = 240, 8
    design = statistics.image_design(
        [f"{i < n // 2}/{i % 4}" for i in range(n)], [str(i) for i in range(n)]
    )
    covered, areas = 0, []
    for repetition in range(200):
        # References learn what they see, the attacked model has seen nothing of either side.
        answers, member = simulated(rng, n, models, 1.0)
        answers = Answers(answers.target - member, answers.references, answers.seen)
        held_out, _ = simulated(rng, 100, models, 0.0)
        population = probabilities(
            Answers(held_out.target, held_out.references, np.zeros((models, 100), dtype=bool))
        )
        scores = {
            "lira-online": lambda a=answers: references.lira_online(a),
            "lira-offline": lambda a=answers: references.lira_offline(a),
            "lira-online-own": lambda a=answers: references.lira_online(a, fixed_variance=False),
            "rmia-online": lambda a=answers, p=population: references.rmia_online(
                probabilities(a), p
            ),
            "rmia-offline": lambda a=answers, p=population: references.rmia_offline(
                probabilities(a), p
            ),
        }[attack]()
        ranking = roc.rank(scores, member)
        areas.append(area(scores, member))
        blocks = statistics.image_weights(design, 200, repetition)
        replicates = np.concatenate([roc.auc(roc.roc(ranking, block)) for block in blocks])
        low, high = statistics.interval(replicates[:, None])
        covered += low[0] <= 0.5 <= high[0]
    assert abs(np.mean(areas) - 0.5) < 4 * np.std(areas) / math.sqrt(200)
    assert 0.90 <= covered / 200 <= 0.99


@settings(max_examples=20)
@given(st.lists(st.text(max_size=8), min_size=1, max_size=50, unique=True))
def test_every_sample_is_in_half_of_the_reference_models(keys: list[str]) -> None:
    for key in keys:
        inside = [references.in_reference_half(key, model) for model in range(10)]
        assert all(inside[m] != inside[m + 1] for m in range(0, 10, 2))


def test_halves_are_halves_and_independent_of_one_another() -> None:
    seen = halves(4000, 6)
    assert abs(seen.mean(axis=1) - 0.5).max() < 0.03
    agree = (seen[0] == seen[2]).mean(), (seen[2] == seen[4]).mean()
    assert max(abs(share - 0.5) for share in agree) < 0.03


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(st.sampled_from(["bat", "car", "dog"]), st.sampled_from(["0", "1", "2"])),
        min_size=2,
        unique=True,
    ),
    st.integers(0, 9),
)
def test_no_half_is_empty_and_a_class_of_two_images_is_in_both(
    sources: list[tuple[str, str]], model: int
) -> None:
    half = references.reference_half(sources, model)
    other = references.reference_half(sources, model ^ 1)
    assert half | other == set(sources)
    assert not half & other
    for side in (half, other):
        assert side
        assert {c for c, _ in side} >= {
            c for c, _ in sources if [d for d, _ in sources].count(c) > 1
        }


def test_images_that_the_hash_divides_are_where_it_says() -> None:
    sources = [(class_id, f"{class_id}_{i:06d}") for class_id in ("bat", "car") for i in range(40)]
    for model in range(4):
        told = {s for s in sources if references.in_reference_half(s[1], model)}
        assert references.reference_half(sources, model) == told


def test_the_halves_never_change() -> None:
    # Checkpoints of reference models were trained on them.
    inside = [references.in_reference_half("car_000007", model) for model in range(8)]
    assert inside == [True, False, False, True, False, True, False, True]


@pytest.mark.parametrize("attack", [references.lira_online, references.lira_offline])
def test_a_sample_without_reference_models_is_refused(attack: object) -> None:
    answers = Answers(np.zeros(2), np.zeros((2, 2)), np.ones((2, 2), dtype=bool))
    with pytest.raises(CapsynthError, match="0 reference models of side 'out' and needs 1"):
        attack(answers)


def test_a_variance_each_needs_two_models_a_side() -> None:
    answers = random_answers(0, models=2)
    assert np.isfinite(references.lira_online(answers)).all()
    with pytest.raises(CapsynthError, match="1 reference models of side 'in' and needs 2"):
        references.lira_online(answers, fixed_variance=False)


def test_reference_models_that_agree_give_finite_scores() -> None:
    answers = Answers(np.zeros(3), np.zeros((4, 3)), halves(3, 4))
    assert references.lira_online(answers).tolist() == [0, 0, 0]
    assert references.lira_offline(answers).tolist() == [0, 0, 0]


@pytest.mark.parametrize("seen", [np.zeros((4, 2), dtype=bool), np.zeros((4, 3), dtype=int)])
def test_membership_of_another_shape_or_of_numbers_is_refused(seen: np.ndarray) -> None:
    with pytest.raises(CapsynthError, match="do not belong together"):
        Answers(np.zeros(3), np.zeros((4, 3)), seen)


def test_rmia_counts_what_a_sample_beats_exactly() -> None:
    # All that is compared is a power of two; means over reference models are 1/2.
    samples = Answers(np.array([0.5]), np.full((2, 1), 0.5), np.array([[True], [False]]))
    held_out = np.array([0.125, 0.25, 0.5, 1.0])
    population = Answers(held_out, np.full((2, 4), 0.5), np.zeros((2, 4), dtype=bool))
    for gamma, beaten in ((1.0, 0.75), (2.0, 0.5), (4.0, 0.25)):
        assert references.rmia_online(samples, population, gamma).tolist() == [beaten]


def test_rmia_needs_a_population() -> None:
    samples = random_answers(0, logits=False)
    nobody = Answers(np.zeros(0), np.zeros((8, 0)), np.zeros((8, 0), dtype=bool))
    with pytest.raises(CapsynthError, match="no population"):
        references.rmia_offline(samples, nobody)

"""Attacks on a training set: who is a member, and the same numbers by naive loops."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from capsynth.errors import CapsynthError
from capsynth.files import write_json_lines
from capsynth.predictions import read_predictions, write_predictions
from capsynth.privacy import attacks, references, roc
from capsynth.privacy.membership import Attack, Part, attack_training_set
from capsynth.privacy.results import AttackScore, CurvePoint, rows_of
from capsynth.records import read_records, write_records
from capsynth.shards import take_fraction

CLASS_IDS = ["bat", "car"]
N = 60  # images a class
HELD_OUT = "eval_sets/toy-val"
MODELS = ["seed0", "seed1", *(f"half{number}" for number in range(4))]

Answers = dict[str, dict[str, Path]]
Found = dict[tuple[str, str], Attack]


def keys_of(prefix: str) -> list[str]:
    return [f"{prefix}{class_id}_{i:06d}" for class_id in CLASS_IDS for i in range(N)]


def confidences(seed: int, keys: list[str], model: str) -> np.ndarray:
    """Probability of the true class; a half is surer of what it saw, as far as a key tells."""
    rng = np.random.default_rng([seed, MODELS.index(model)])
    logits = rng.normal(size=len(keys))
    if model.startswith("half"):
        number = int(model.removeprefix("half"))
        logits += [1.5 * references.in_reference_half(k, number) for k in keys]
    elif keys[0][0] != "v":
        logits += 1.0
    return 1.0 / (1.0 + np.exp(-logits))


@pytest.fixture
def answer(tmp_path: Path) -> Callable[..., dict[str, Path]]:
    """``answer(images, keys)`` writes what all models say of a set of images."""

    def write(images: str, keys: list[str], **order: list[int]) -> dict[str, Path]:
        files = {}
        for model in MODELS:
            path = tmp_path / images / f"{model}.parquet"
            true = confidences(len(images), keys, model)
            target = np.array([CLASS_IDS.index(key.split("_")[0][-3:]) for key in keys])
            probabilities = np.empty((len(keys), 2), dtype=np.float32)
            probabilities[np.arange(len(keys)), target] = true
            probabilities[np.arange(len(keys)), 1 - target] = 1 - true
            rows = order.get(model, list(range(len(keys))))
            write_predictions(
                path,
                keys=[keys[i] for i in rows],
                targets=target[rows],
                probabilities=probabilities[rows],
                class_ids=CLASS_IDS,
                dataset="toy",
                training_set="t",
                recipe="r",
                seed=0,
                eval_set=images,
                fingerprint="f",
            )
            files[model] = path
        return files

    return write


@pytest.fixture
def answers(answer: Callable[..., dict[str, Path]]) -> Answers:
    """The answers to the real images, the drawn ones, their twins, and the held-out ones."""
    return {
        "real": answer("real", keys_of("")),
        "images/caption": answer("images/caption", keys_of("")),
        "images/twin": answer("images/twin", keys_of("")),
        HELD_OUT: answer(HELD_OUT, keys_of("v")),
    }


@pytest.fixture
def part(tmp_path: Path) -> Callable[..., Part]:
    """``part(name, fraction=1.0, sources=True)`` writes the manifest of a folder."""

    def write(name: str, fraction: float = 1.0, sources: bool = True) -> Part:
        path = tmp_path / f"{name.replace('/', '-')}.jsonl"
        drawn = name != "real"
        lines = []
        for place, key in enumerate(keys_of("")):
            record = {
                "key": key,
                "offset": 512,
                "size": 1,
                "class_id": CLASS_IDS[place // N],
                "class_index": place // N,
                "index": place % N,
                "status": "ok",
                "fingerprint": "f",
            }
            lines.append(json.dumps(record | ({"source_key": key} if drawn and sources else {})))
        path.write_text("\n".join(lines) + "\n")
        return Part(name, (path,), fraction)

    return write


def without_references(answers: Answers) -> Answers:
    return {
        images: {model: file for model, file in files.items() if model.startswith("seed")}
        for images, files in answers.items()
    }


def run(parts: list[Part], answers: Answers, twins: dict[str, Part] | None = None) -> Found:
    found = attack_training_set(parts, twins or {}, answers, HELD_OUT, draws=100)
    return {(attack.definition, attack.name): attack for attack in found}


def metric(attack: Attack, name: str) -> float:
    return float(attack.found.values[roc.METRICS.index(name)])


def naive_auc(members: list[float], nonmembers: list[float]) -> float:
    wins = [(m > n) + 0.5 * (m == n) for m in members for n in nonmembers]
    return sum(wins) / len(wins)


def confidences_of(images: str, prefix: str, model: str) -> dict[str, float]:
    keys = keys_of(prefix)
    values = confidences(len(images), keys, model).astype(np.float32)
    return dict(zip(keys, values.tolist(), strict=True))


def test_the_confidence_of_models_agrees_with_a_loop(
    answers: Answers, part: Callable[..., Part]
) -> None:
    attack = run([part("real")], without_references(answers))["real", "confidence"]
    expected = [
        naive_auc(
            list(confidences_of("real", "", model).values()),
            list(confidences_of(HELD_OUT, "v", model).values()),
        )
        for model in ("seed0", "seed1")
    ]
    assert metric(attack, "auc") == pytest.approx(np.mean(expected), rel=1e-9)
    assert (attack.members, attack.nonmembers, attack.models) == (2 * N, 2 * N, 2)
    place = roc.METRICS.index("auc")
    assert attack.found.low[place] < np.mean(expected) < attack.found.high[place] <= 1.0


def test_the_papers_attack_is_that_of_its_release(
    answers: Answers, part: Callable[..., Part]
) -> None:
    attack = run([part("real")], without_references(answers))["real", "paper"]
    expected = []
    for model in ("seed0", "seed1"):
        members = np.array([v for _, v in sorted(confidences_of("real", "", model).items())])
        chosen = members[attacks.paper_members(2 * N)]
        others = np.array(list(confidences_of(HELD_OUT, "v", model).values()))
        expected.append(attacks.paper_attack(chosen, others))
    assert metric(attack, "best_accuracy") == pytest.approx(np.mean(expected), rel=1e-9)
    # 2 of 50, 2 of the next 50, 2 of the last 20.
    assert attack.members == 6


def test_members_are_the_images_that_the_training_set_took(
    answers: Answers, part: Callable[..., Part]
) -> None:
    alone = without_references(answers)
    half = part("real", fraction=0.5)
    taken = {record.key for record in half.records()}
    assert 0 < len(taken) < 2 * N
    attack = run([half], alone)["real", "confidence"]
    assert attack.members == len(taken)
    of = [confidences_of("real", "", model) for model in ("seed0", "seed1")]
    others = [confidences_of(HELD_OUT, "v", model) for model in ("seed0", "seed1")]
    expected = [
        naive_auc([m[k] for k in taken], list(o.values())) for m, o in zip(of, others, strict=True)
    ]
    assert metric(attack, "auc") == pytest.approx(np.mean(expected), rel=1e-9)
    # A smaller share of captions descends from fewer real images; class names from none: a control.
    drawn = run([part("images/caption", fraction=0.5)], alone)["real", "confidence"]
    assert drawn.members == len(taken)
    control = run([part("images/caption", sources=False)], alone)["real", "confidence"]
    assert control.members == 2 * N


def test_without_reference_models_and_twins_only_the_real_images_are_attacked(
    answers: Answers, part: Callable[..., Part]
) -> None:
    found = run([part("images/caption")], without_references(answers))
    assert set(found) == {("real", name) for name in ("paper", *attacks.SCORES)}


def test_a_twins_images_are_the_non_members_of_the_drawn_ones(
    answers: Answers, part: Callable[..., Part]
) -> None:
    twins = {"images/caption": part("images/twin")}
    found = run([part("images/caption")], without_references(answers), twins)
    attack = found["synthetic", "confidence"]
    expected = [
        naive_auc(
            list(confidences_of("images/caption", "", model).values()),
            list(confidences_of("images/twin", "", model).values()),
        )
        for model in ("seed0", "seed1")
    ]
    assert metric(attack, "auc") == pytest.approx(np.mean(expected), rel=1e-9)


def test_keys_that_start_anew_in_each_class_are_images_of_their_own(
    answers: Answers, part: Callable[..., Part], tmp_path: Path
) -> None:
    """As the files cat/0001.jpg and dog/0001.jpg have them."""

    def number(key: str) -> str:
        return key.rpartition("_")[2]

    unique = run([part("images/caption", fraction=0.5)], without_references(answers))
    taken = take_fraction(part("images/caption").records(), 0.5)
    for name in ("real", "images/caption"):
        for path in answers[name].values():
            one = read_predictions(path)
            about = ("dataset", "training_set", "recipe", "seed", "eval_set", "fingerprint")
            write_predictions(
                path,
                keys=[number(key) for key in one.keys.tolist()],
                targets=one.target,
                probabilities=one.probabilities,
                class_ids=one.class_ids,
                **{field: getattr(one, field) for field in about},
            )
    shards = []
    for class_id in CLASS_IDS:
        shards.append(tmp_path / f"{class_id}-0.jsonl")
        equal = [
            vars(r) | {"key": number(r.key), "source_key": number(r.key)}
            for r in taken
            if r.class_id == class_id
        ]
        rows = ({name: v for name, v in row.items() if v is not None} for row in equal)
        write_json_lines(shards[-1], rows)
    found = run([Part("images/caption", tuple(shards), 1.0)], answers)
    attack = found["real", "confidence"]
    assert attack.members == unique["real", "confidence"].members == len(taken)
    assert metric(attack, "auc") == metric(unique["real", "confidence"], "auc")
    halves = found["synthetic-half", "confidence"]
    assert halves.members + halves.nonmembers == len(taken)


def test_each_half_is_attacked_with_the_images_it_was_trained_on(
    answers: Answers, part: Callable[..., Part]
) -> None:
    found = run([part("images/caption")], answers)
    attack = found["synthetic-half", "confidence"]
    expected = []
    for number in range(4):
        of = confidences_of("images/caption", "", f"half{number}")
        inside = [v for k, v in of.items() if references.in_reference_half(k, number)]
        outside = [v for k, v in of.items() if not references.in_reference_half(k, number)]
        expected.append(naive_auc(inside, outside))
    assert metric(attack, "auc") == pytest.approx(np.mean(expected), rel=1e-9)
    assert metric(attack, "auc") > 0.75
    assert attack.models == 4
    assert {name for definition, name in found if definition == "real-half"} == {
        *attacks.SCORES,
        *("lira-offline", "lira-online", "rmia-offline", "rmia-online"),
    }


def test_lira_compares_a_half_with_models_that_are_not_of_its_pair(
    answers: Answers, part: Callable[..., Part]
) -> None:
    attack = run([part("images/caption")], answers)["synthetic-half", "lira-offline"]
    of = [confidences_of("images/caption", "", f"half{number}") for number in range(4)]
    expected = []
    for number in range(4):
        rest = [2, 3] if number < 2 else [0, 1]
        scores = {}
        for key in keys_of(""):
            (out,) = (r for r in rest if not references.in_reference_half(key, r))
            logit = [
                np.log(np.float64(p) / (1 - np.float64(p))) for p in (of[number][key], of[out][key])
            ]
            scores[key] = logit[0] - logit[1]
        sides = {k: references.in_reference_half(k, number) for k in scores}
        expected.append(
            naive_auc(
                [v for k, v in scores.items() if sides[k]],
                [v for k, v in scores.items() if not sides[k]],
            )
        )
    assert metric(attack, "auc") == pytest.approx(np.mean(expected), rel=1e-4)


def test_rmia_does_not_attack_the_images_it_compares_with(
    answers: Answers, part: Callable[..., Part]
) -> None:
    found = run([part("real")], answers)
    assert found["real", "lira-offline"].nonmembers == 2 * N
    assert 0 < found["real", "rmia-offline"].nonmembers < 2 * N


def test_a_rate_that_cannot_be_told_keeps_an_upper_bound(
    answers: Answers, part: Callable[..., Part]
) -> None:
    attack = run([part("real")], without_references(answers))["real", "confidence"]
    place = roc.METRICS.index("tpr_at_fpr_0.001")  # 120 non-members tell 1/120
    assert np.isnan(attack.found.values[place])
    assert attack.found.low[place] == 0.0
    assert 0.0 < attack.found.high[place] < 1.0
    ours = rows_of("toy", "t", "r", [attack])[0]
    assert next(row for row in ours if row.metric == "tpr_at_fpr_0.001").value is None


def test_models_must_have_answered_the_same_images(
    answers: Answers, answer: Callable[..., dict[str, Path]], part: Callable[..., Part]
) -> None:
    reordered = [*range(1, 2 * N), 0]
    answers["real"] = answer("real", keys_of(""), seed1=reordered)
    with pytest.raises(CapsynthError, match="other images than in"):
        run([part("real")], answers)


def test_rows_survive_being_written(
    answers: Answers, part: Callable[..., Part], tmp_path: Path
) -> None:
    found = list(run([part("images/caption")], answers).values())
    scores, points = rows_of("toy", "caption", "r", found)
    write_records(tmp_path / "a.csv", AttackScore, sorted(scores))
    read = read_records(tmp_path / "a.csv", AttackScore, "attack_membership")
    names = [(r.member_definition, r.attack, r.metric) for r in read]
    assert names == sorted(names)
    assert len(read) == len(scores)
    by_name = {(r.member_definition, r.attack, r.metric): r for r in scores}
    for row, name in zip(read, names, strict=True):
        assert row.value == (
            None if by_name[name].value is None else pytest.approx(by_name[name].value, abs=1e-6)
        )
    paper = {r.metric for r in read if r.attack == "paper"}
    assert paper == {"best_accuracy", "best_accuracy_without_leak"}
    write_records(tmp_path / "c.csv", CurvePoint, sorted(points))
    curve = [
        point.tpr
        for point in read_records(tmp_path / "c.csv", CurvePoint, "attack_membership")
        if (point.member_definition, point.attack, point.model) == ("real", "entropy", 1)
    ]
    assert len(curve) > 30
    assert curve == sorted(curve)
    assert curve[-1] == 1.0

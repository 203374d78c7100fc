"""Unknown images: what the embedded ones show, how they are read, and what is measured."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score

from capsynth import novelty
from capsynth.datasets.layouts import unknown_folders
from capsynth.datasets.openmoji.drawing import glyph
from capsynth.datasets.openmoji.splits import (
    ALL_SPLITS,
    background_probabilities,
    draw_real_scene,
    plan_real_scene,
)
from capsynth.datasets.openmoji.unknown import UNKNOWN_CLASSES, UNKNOWN_SUBTYPES
from capsynth.datasets.openmoji.world import ALL_SUBTYPES, CLASSES
from capsynth.errors import CapsynthError
from capsynth.predictions import UNKNOWN, read_predictions, write_predictions
from capsynth.reporting.scores import Score
from capsynth.reporting.settings import ReportSettings
from capsynth.reporting.subgroup_tables import unknown_table
from capsynth.reporting.tables import to_csv, to_html, to_latex, to_markdown
from capsynth.reporting.unknown_scores import METRICS, measure_unknown


def write_run(
    folder: Path, training_set: str, seed: int, shift: float, unknown: bool, energy: bool = True
) -> Path:
    rng = np.random.default_rng([seed, int(10 * shift), unknown])
    n = 30 if unknown else 40
    logits = rng.normal(size=(n, 4)).astype(np.float32)
    targets = np.arange(n) % 4
    if not unknown:
        logits[np.arange(n), targets] += shift
    odds = np.exp(logits)
    path = folder / f"{training_set}-{seed}-{unknown}.parquet"
    write_predictions(
        path,
        keys=[f"k{i:02d}" for i in range(n)],
        targets=np.full(n, UNKNOWN) if unknown else targets,
        probabilities=odds / odds.sum(axis=1, keepdims=True),
        class_ids=list("abcd"),
        dataset="toy",
        training_set=training_set,
        recipe="tiny",
        seed=seed,
        eval_set="toy-unknown" if unknown else "toy-val",
        fingerprint="f",
        log_sum_exp=np.log(odds.sum(axis=1)) if energy else None,
        unknown_class_ids=[f"thing{i % 3}" for i in range(n)] if unknown else None,
    )
    return path


def runs(folder: Path, unknown: bool) -> list[Path]:
    return [
        write_run(folder, name, seed, shift, unknown)
        for name, shift in (("real", 2.5), ("half", 0.5))
        for seed in range(3)
    ]


def find(rows: list[Score], training_set: str, seed: int | None, metric: str) -> Score:
    (found,) = [
        r for r in rows if (r.training_set, r.seed, r.metric) == (training_set, seed, metric)
    ]
    return found


def test_unknown_things_are_none_that_the_world_knows() -> None:
    known = {subtype.glyph for subtype in ALL_SUBTYPES}
    drawn = [subtype.glyph for subtype in UNKNOWN_SUBTYPES.values()]
    assert len(set(drawn)) == len(drawn)
    assert not known & set(drawn)
    assert not {c.class_id for c in UNKNOWN_CLASSES} & {c.class_id for c in CLASSES}
    for subtype in UNKNOWN_SUBTYPES.values():
        assert glyph(subtype).size[0] > 20


def test_unknown_scenes_differ_from_val_in_the_things_alone() -> None:
    mixtures = []
    for split, classes in (("val", CLASSES), ("unknown", UNKNOWN_CLASSES)):
        mixture: Counter[str] = Counter()
        for one in classes:
            mixture.update(background_probabilities(ALL_SPLITS[split], one, 0.5))
        mixtures.append(mixture)
    assert mixtures[0] == pytest.approx(mixtures[1])
    assert ALL_SPLITS["val"].poses == ALL_SPLITS["unknown"].poses
    scene = plan_real_scene("unknown", 2, "clock", 0, 0.5)
    assert scene.subtype_id in UNKNOWN_SUBTYPES
    images = [draw_real_scene("unknown", 2, "clock", i, 0.5)[0].tobytes() for i in (0, 0, 1)]
    assert images[0] == images[1] != images[2]
    with pytest.raises(CapsynthError, match="unknown class 'car'"):
        plan_real_scene("unknown", 2, "car", 0, 0.5)


def test_folders_of_any_names_and_images_in_none_are_taken(tmp_path: Path) -> None:
    for place in ("a.png", "one thing/b.png", "Ünd/c.png"):
        path = tmp_path / place
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(path)
    (tmp_path / "notes.txt").write_text("of no class")
    found = unknown_folders([tmp_path])
    assert [(f.class_id, f.path.name) for f in found] == [
        ("unknown", tmp_path.name),
        ("one thing", "one thing"),
        ("Ünd", "Ünd"),
    ]
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(CapsynthError, match="holds no images and no folders"):
        unknown_folders([empty])
    with pytest.raises(CapsynthError, match="cannot be read"):
        unknown_folders([tmp_path / "gone"])


def test_metrics_are_those_of_scikit_learn_and_of_a_loop(tmp_path: Path) -> None:
    inside, unknown = runs(tmp_path, False), runs(tmp_path, True)
    rows = measure_unknown(inside, unknown, [["real", "half"]], 100)
    for known_path, other_path in zip(inside, unknown, strict=True):
        pair = (read_predictions(known_path), read_predictions(other_path))
        assert pair[1].is_unknown
        assert set(pair[1].sample_class_ids) == {"thing0", "thing1", "thing2"}
        for score in ("max_softmax", "energy"):
            a, b = (
                (p.probabilities.max(axis=1) if score == "max_softmax" else p.log_sum_exp)
                for p in pair
            )
            is_inside = np.repeat([1, 0], [len(a), len(b)])
            name = (pair[0].training_set, pair[0].seed)
            auroc = roc_auc_score(is_inside, np.concatenate([a, b]))
            assert find(rows, *name, f"auroc/{score}").value == pytest.approx(auroc, abs=1e-9)
            threshold = max(t for t in a if np.mean(a >= t) >= 0.95)
            fpr = np.mean(b >= threshold)
            assert find(rows, *name, f"fpr95/{score}").value == pytest.approx(fpr, abs=1e-9)
            joined = np.concatenate([a, b]).astype(np.float64)
            for way, positive, sign in (("in", is_inside, 1), ("out", 1 - is_inside, -1)):
                theirs = average_precision_score(positive, sign * joined)
                found = find(rows, *name, f"aupr_{way}/{score}").value
                assert found == pytest.approx(theirs, abs=1e-9)


def test_chance_stands_beside_the_summaries_and_rows_that_reach_it_are_marked(
    tmp_path: Path,
) -> None:
    paths = [
        [
            write_run(tmp_path, name, seed, shift, unknown)
            for name, shift in (("real", 4.0), ("blind", 0.0))
            for seed in range(3)
        ]
        for unknown in (False, True)
    ]
    rows = measure_unknown(paths[0], paths[1], [], 200)
    for name in ("real", "blind"):
        chance = {m: find(rows, name, None, f"chance/{m}").value for m in novelty.METRICS}
        assert chance == pytest.approx(
            {"auroc": 0.5, "fpr95": 0.95, "aupr_in": 4 / 7, "aupr_out": 3 / 7}
        )
    settings = ReportSettings("toy-val", ("real", "blind"), ("toy-val",), ())
    table = unknown_table(rows, settings, ["toy-unknown"])
    real, blind, chance_row = table.rows
    assert not any(cell.faint for cell in real)
    assert [cell.text for cell in blind[4:] if not cell.faint] == []
    assert all(cell.text.endswith("°") and not cell.bold for cell in blind[4:])
    shown = ["50.0", "95.0", "57.1", "42.9"]
    assert [cell.text for cell in chance_row] == ["chance", "", "toy-unknown", "30", *shown, *shown]
    assert "° not clearly better than chance" in table.note
    csv = to_csv(table).splitlines()
    assert csv[-1] == "chance,,toy-unknown,30," + ",".join(
        f"{x},," for x in ("50.0", "95.0", "57.1429", "42.8571") * 2
    )
    for text in (to_markdown(table), to_latex(table), to_html(table)):
        assert "57.1" in text


def test_a_perfect_ranking_has_an_interval_in_every_metric(tmp_path: Path) -> None:
    inside = [write_run(tmp_path, "real", seed, 40.0, False) for seed in range(3)]
    unknown = [write_run(tmp_path, "real", seed, 40.0, True) for seed in range(3)]
    rows = measure_unknown(inside, unknown, [], 50)
    for metric in METRICS:
        row = find(rows, "real", None, metric)
        assert row.ci_low is not None
        assert row.ci_high is not None
        assert row.ci_low < row.ci_high


def test_summaries_differences_and_intervals(tmp_path: Path) -> None:
    rows = measure_unknown(runs(tmp_path, False), runs(tmp_path, True), [["real", "half"]], 200)
    for metric in METRICS:
        means = []
        for name in ("real", "half"):
            row = find(rows, name, None, metric)
            means.append(row.value)
            seeds = [find(rows, name, seed, metric).value for seed in range(3)]
            assert row.value == pytest.approx(np.mean(seeds))
            assert row.n == 30
            assert row.ci_low is not None
            assert row.ci_high is not None
            assert row.ci_low <= row.value <= row.ci_high
        difference = find(rows, "real - half", None, metric)
        assert difference.value == pytest.approx(means[0] - means[1])
    real = find(rows, "real", None, "auroc/max_softmax")
    assert real.ci_low is not None
    assert real.ci_low > 0.5
    table = unknown_table(
        rows, ReportSettings("toy-val", ("real", "half"), ("toy-val",), ()), ["toy-unknown"]
    )
    assert [row[0].text for row in table.rows] == ["real", "half", "chance"]
    assert "toy-val" in table.note


def test_the_order_of_files_changes_nothing(tmp_path: Path) -> None:
    inside, unknown = runs(tmp_path, False), runs(tmp_path, True)
    rows = measure_unknown(inside, unknown, [], 50)
    assert rows == measure_unknown(inside[::-1], unknown[::-1], [], 50)


def test_scores_that_never_meet_have_an_interval_all_the_same(tmp_path: Path) -> None:
    inside = [write_run(tmp_path, "real", 0, 40.0, False)]
    unknown = [write_run(tmp_path, "real", 0, 40.0, True)]
    row = find(measure_unknown(inside, unknown, [], 50), "real", 0, "auroc/energy")
    assert (row.value, row.ci_high) == (1.0, 1.0)
    # 30 unknown images: so many in a row are 2.5 % likely.
    assert row.ci_low == pytest.approx(0.025 ** (1 / 30))


def test_what_does_not_go_together_is_refused(tmp_path: Path) -> None:
    inside, unknown = runs(tmp_path, False), runs(tmp_path, True)
    with pytest.raises(CapsynthError, match="is of images of the classes"):
        measure_unknown(inside, inside, [], 10)
    with pytest.raises(CapsynthError, match="is of images of no class"):
        measure_unknown(unknown, unknown, [], 10)
    with pytest.raises(CapsynthError, match="half, tiny, seed 0 did not answer both"):
        measure_unknown(inside, unknown[:3], [], 10)
    old = write_run(tmp_path / "old", "real", 0, 2.5, False, energy=False)
    with pytest.raises(CapsynthError, match=r"hold no energy.*run evaluate_classifier again"):
        measure_unknown([old], unknown[:1], [], 10)


def test_unknown_images_have_no_target(tmp_path: Path) -> None:
    path = write_run(tmp_path, "real", 0, 1.0, True)
    assert set(read_predictions(path).target) == {UNKNOWN}
    about = {
        "keys": ["a"], "probabilities": np.array([[0.5, 0.5]]), "class_ids": ["x", "y"],
        "dataset": "toy", "training_set": "real", "recipe": "tiny", "seed": 0,
        "eval_set": "toy-unknown", "fingerprint": "f",
    }  # fmt: skip
    with pytest.raises(CapsynthError, match="targets other than -1"):
        write_predictions(path, targets=np.array([1]), unknown_class_ids=["thing"], **about)
    with pytest.raises(CapsynthError, match="energies of shape"):
        write_predictions(path, targets=np.array([1]), log_sum_exp=np.array([np.inf]), **about)

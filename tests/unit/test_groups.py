"""Groups of samples: where their attributes come from, and what is measured on them."""

from pathlib import Path

import numpy as np
import pytest

from capsynth import minima
from capsynth.datasets.openmoji.splits import plan_real_scene
from capsynth.datasets.openmoji.world import CLASS_BY_ID
from capsynth.errors import CapsynthError
from capsynth.groups import Attribute, GroupSettings, attributes_of, read_groups
from capsynth.predictions import read_predictions, write_predictions
from capsynth.reporting import subgroup_tables
from capsynth.reporting.group_scores import measure_groups
from capsynth.reporting.scores import Score
from capsynth.reporting.settings import ReportSettings
from capsynth.shards import OK, Sample, ShardRecord, write_shard

CLASS_IDS = ("bat", "car")
# (class, attribute): right answers of two seeds, and images.
GROUPS = {
    ("bat", "night"): ((18, 20), 20),
    ("bat", "road"): ((5, 7), 12),
    ("car", "road"): ((30, 27), 30),
    ("car", "night"): ((4, 8), 16),
    ("car", "sea"): ((0, 0), 3),
}


def record(key: str, class_id: str, source_key: str | None = None) -> ShardRecord:
    place = CLASS_IDS.index(class_id)
    return ShardRecord(
        key, class_id, place, 0, OK, "f", "png", offset=0, size=1, source_key=source_key
    )


@pytest.fixture
def measured(tmp_path: Path) -> list[Score]:
    """The scores of two seeds on groups of known accuracy; three images are in no group."""
    samples: list[tuple[str, str, tuple[bool, bool]]] = []
    lines = ["key;aligned;group"]  # as a spreadsheet writes it
    for (class_id, attribute), (right, n) in GROUPS.items():
        for i in range(n):
            key = f"{class_id}_{attribute}{i}"
            samples.append((key, class_id, (i < right[0], i < right[1])))
            aligned = (class_id, attribute) in {("bat", "night"), ("car", "road")}
            lines.append(f"{key};{'yes' if aligned else 'no'};{attribute}")
    samples += [(f"bat_new{i}", "bat", (True, True)) for i in range(3)]
    (tmp_path / "groups.csv").write_text("\n".join(lines), encoding="utf-8-sig")
    write_shard(
        tmp_path / "toy.tar",
        tmp_path / "toy.jsonl",
        [Sample(record(key, class_id), b"i") for key, class_id, _ in samples],
    )
    target = np.array([CLASS_IDS.index(class_id) for _, class_id, _ in samples])
    paths = []
    for seed in (0, 1):
        right = np.array([answers[seed] for *_, answers in samples])
        prediction = np.where(right, target, 1 - target)
        paths.append(tmp_path / f"{seed}.parquet")
        write_predictions(
            paths[-1],
            keys=[key for key, *_ in samples],
            targets=target,
            probabilities=np.eye(2, dtype=np.float32)[prediction],
            class_ids=CLASS_IDS,
            dataset="toy",
            training_set="real",
            recipe="tiny",
            seed=seed,
            eval_set="toy",
            fingerprint="f",
        )
    sets = {"toy": (tmp_path / "toy.jsonl", GroupSettings(str(tmp_path / "groups.csv")))}
    return measure_groups(paths, sets, 10, 200)


def summary(rows: list[Score], metric: str) -> Score:
    (found,) = [row for row in rows if row.seed is None and row.metric == metric]
    return found


def test_accuracy_by_group_is_the_share_of_right_answers(measured: list[Score]) -> None:
    for (class_id, attribute), (right, n) in GROUPS.items():
        row = summary(measured, f"group/{class_id}/{attribute}")
        assert (row.value, row.n) == (pytest.approx(sum(right) / 2 / n), n)
        assert row.ci_low is not None
        assert row.ci_high is not None
        assert row.ci_low <= row.value <= row.ci_high
        assert row.ci_low < row.ci_high


def test_the_worst_and_the_best_group_have_enough_images(measured: list[Score]) -> None:
    # car/sea with 0 of 3 is too small.
    worst = summary(measured, "worst_group")
    assert (worst.value, worst.n) == (pytest.approx(12 / 32), 16)
    gap = summary(measured, "group_gap")
    assert (gap.value, gap.n) == (pytest.approx(38 / 40 - 12 / 32), 78)
    # Of a single run it is the worst of that run.
    first = next(row for row in measured if row.seed == 0 and row.metric == "worst_group")
    assert first.value == pytest.approx(4 / 16)


def test_aligned_and_conflicting_count_every_class_alike(measured: list[Score]) -> None:
    aligned = (38 / 40 + 57 / 60) / 2
    conflicting = (12 / 24 + 12 / 38) / 2  # of cars, on two backgrounds
    assert summary(measured, "aligned").value == pytest.approx(aligned)
    assert summary(measured, "conflicting").value == pytest.approx(conflicting)
    gap = summary(measured, "alignment_gap")
    assert gap.value == pytest.approx(aligned - conflicting)
    assert gap.ci_low is not None
    assert gap.ci_high is not None
    assert gap.ci_low < gap.value < gap.ci_high


def test_tables_count_what_is_left_out(measured: list[Score]) -> None:
    settings = ReportSettings("toy", ("real",), ("toy",), ())
    table = subgroup_tables.group_table(measured, settings, ["toy"], 10)
    assert "5 groups, of which 1 with 3 images in all are smaller" in table.note
    assert "3 images are in no group" in table.note
    row, chance = table.rows
    assert [cell.text for cell in row[4:6]] == ["car/night", "16"]
    # Two seeds guess: four groups are large enough, aligned and conflicting have both classes.
    sizes = [n for _, n in GROUPS.values() if n >= 10]
    least = f"{100 * minima.least_by_chance(sizes, 0.5, 2):.1f}"
    texts = [cell.text for cell in chance]
    assert texts == ["chance", "", "toy", least, "", "", "", "50.0", "50.0", ""]
    is_faint = {column.title: c.faint for column, c in zip(table.columns, row, strict=True)}
    assert is_faint["Worst group"]
    assert not is_faint["Aligned"]
    assert is_faint["Conflicting"]
    assert not is_faint["Aligned less conflicting"]
    by_group = subgroup_tables.group_accuracy_table(measured, settings, ["toy"])
    assert {row[4].text for row in by_group.rows} == {"50.0"}
    faint = {row[0].text: row[5].faint for row in by_group.rows}
    assert faint["car/night"]
    assert [row[0].text for row in by_group.rows] == sorted(f"{c}/{a}" for c, a in GROUPS)


def test_scenes_are_grouped_by_what_the_renderer_put_behind_them() -> None:
    records = [record(f"{c}_{i:06d}", c) for c in CLASS_IDS for i in range(30)]
    by_background = attributes_of(GroupSettings("background", "val", 2, 0.5), records)
    by_context = attributes_of(GroupSettings("context", "val", 2, 0.5), records)
    assert len(by_background) == 60
    for one in records:
        scene = plan_real_scene("val", 2, one.class_id, int(one.key[-6:]), 0.5)
        typical = scene.background in CLASS_BY_ID[one.class_id].typical_backgrounds
        assert by_background[one.key] == Attribute(scene.background, typical)
        assert by_context[one.key] == Attribute("typical" if typical else "other", typical)
    assert {a.name for a in by_context.values()} == {"typical", "other"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("key,grp\na,b\n", "the heading is 'key,grp'; write key,group"),
        ("key,group\na,\n", ":2: has no group"),
        ("key,group\na,b\na,c\n", "'a' is on line 2 already"),
        ("key,group,aligned\na,b,maybe\n", "aligned is 'maybe'; write yes or no"),
        ("key,group\n", "has no rows"),
    ],
)
def test_a_file_of_groups_that_is_wrong_is_told_with_its_line(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "groups.csv"
    path.write_text(text)
    with pytest.raises(CapsynthError, match=message):
        read_groups(path)


def test_keys_that_are_of_no_image_are_refused_with_those_that_are(tmp_path: Path) -> None:
    path = tmp_path / "groups.csv"
    path.write_text("key,group\n1.jpg,night\n")
    with pytest.raises(CapsynthError, match="whose keys are as 'bat_1'"):
        attributes_of(GroupSettings(str(path)), [record("bat_1", "bat")])


def test_a_group_is_aligned_or_not(tmp_path: Path) -> None:
    path = tmp_path / "groups.csv"
    path.write_text("key,group,aligned\nbat_1,night,yes\nbat_2,night,no\n")
    records = [record("bat_1", "bat"), record("bat_2", "bat")]
    with pytest.raises(CapsynthError, match="'night' of class 'bat' is aligned in one row"):
        attributes_of(GroupSettings(str(path)), records)


def test_predictions_without_energy_are_read(tmp_path: Path, measured: list[Score]) -> None:
    assert measured
    assert read_predictions(tmp_path / "0.parquet").log_sum_exp is None

"""Label quality as rows and tables: its intervals, its units, and what is refused."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import make_label_tables
import measure_label_quality
from capsynth import label_quality as quality
from capsynth.errors import CapsynthError
from capsynth.files import dump_json
from capsynth.predictions import Predictions, read_predictions, write_predictions
from capsynth.reporting.label_rows import LabelRow, measure_labels
from capsynth.reporting.label_tables import label_table
from capsynth.reporting.label_tables import make_label_tables as make_tables
from capsynth.reporting.prompt_tables import PromptTableSettings

CLASSES = ("bat", "car", "dog")
SETTINGS = PromptTableSettings(("caption",), "real")


def answered(
    folder: Path,
    name: str,
    seed: int = 0,
    images: int = 30,
    wrong: float = 0.2,
    copies: int = 1,
    data: int = 0,
    skill: float = 2.0,
    recipe: str = "tiny",
) -> Path:
    """Write the answers of one classifier to images of which a share is of the next class.

    The images depend on ``data`` alone, and the answers on the seed too; copies are alike.
    """
    target = np.repeat(np.arange(3), images)
    rng = np.random.default_rng(data)
    truth = np.where(rng.random(len(target)) < wrong, (target + 1) % 3, target)
    noise = 0.7 * rng.normal(size=(len(target), 3))
    noise += 0.7 * np.random.default_rng([data, seed + 1]).normal(size=noise.shape)
    noise[np.arange(len(target)), truth] += skill
    odds = np.exp(skill * noise)
    odds /= odds.sum(axis=1, keepdims=True)
    endings = ["", *(f"-{k}" for k in range(1, copies))]
    keys = [f"{CLASSES[t]}_{i % images:06d}{e}" for i, t in enumerate(target) for e in endings]
    path = folder / f"{name}-{recipe}-{seed}-{data}-{copies}.parquet"
    write_predictions(
        path, keys=keys, targets=np.repeat(target, copies),
        probabilities=np.repeat(odds, copies, axis=0).astype(np.float32), class_ids=CLASSES,
        dataset="toy", training_set="real", recipe=recipe, seed=seed, eval_set=name,
        fingerprint="f",
    )  # fmt: skip
    return path


def of(rows: list[LabelRow], metric: str, name: str = "caption", class_id: str = "") -> LabelRow:
    (row,) = [r for r in rows if (r.metric, r.name, r.class_id) == (metric, name, class_id)]
    return row


def wrong_of(run: Predictions, limits: quality.Floats) -> list[float]:
    chosen = quality.confident_classes(quality.candidates(run.probabilities, limits), limits)
    joint = quality.confident_joint(run.probabilities, run.target, limits)
    shares = quality.wrong_shares(chosen, run.target, np.ones(len(run)), 3)
    assert shares[1:] == pytest.approx(1 - np.diag(joint) / joint.sum(axis=1))
    return shares.tolist()


def test_shares_are_means_over_seeds_of_what_the_functions_say(tmp_path: Path) -> None:
    judged = [answered(tmp_path, "caption", seed) for seed in range(2)]
    real = [answered(tmp_path, "val", seed, wrong=0.0, data=5) for seed in range(2)]
    rows = measure_labels(judged, real, 200)
    runs, own_real = [*map(read_predictions, judged)], [*map(read_predictions, real)]
    limits = [quality.thresholds(r.probabilities, r.target) for r in runs]
    of_real = [quality.thresholds(r.probabilities, r.target) for r in own_real]
    for metric, used in (("wrong", limits), ("wrong_by_real", of_real)):
        expected = np.mean([wrong_of(r, t) for r, t in zip(runs, used, strict=True)], axis=0)
        found = [of(rows, metric, class_id=c).value for c in ("", *CLASSES)]
        assert found == pytest.approx(expected, abs=1e-12)
    disagreement = of(rows, "disagreement")
    assert disagreement.value == pytest.approx(
        np.mean([(r.prediction != r.target).mean() for r in runs])
    )
    assert (disagreement.n, disagreement.seeds, of(rows, "wrong", class_id="car").n) == (90, 2, 30)
    # Real images give the same by either thresholds, but for the sampling of them.
    assert of(rows, "wrong", "val").value == of(rows, "wrong_by_real", "val").value
    for row in rows:
        if row.value is not None:
            assert row.ci_low is not None
            assert row.ci_high is not None
            assert 0 <= row.ci_low <= row.value <= row.ci_high <= 1
            assert row.ci_low < row.ci_high
    assert rows == measure_labels(judged[::-1], real[::-1], 200)


def test_the_interval_is_as_wide_as_the_estimate_spreads_over_data_sets(tmp_path: Path) -> None:
    real = answered(tmp_path, "val", wrong=0.0, data=999, images=100)
    values, errors = [], []
    for data in range(60):
        row = of(measure_labels([answered(tmp_path, "caption", data=data)], [real], 100), "wrong")
        assert row.value is not None
        assert row.ci_low is not None
        assert row.ci_high is not None
        values.append(row.value)
        errors.append((row.ci_high - row.ci_low) / 2 / 1.988)  # t of 87 degrees of freedom
    # The standard deviation of 60 values is known to 9 %.
    assert np.mean(errors) == pytest.approx(np.std(values, ddof=1), rel=0.3)


def test_images_of_one_caption_s_source_are_drawn_together(tmp_path: Path) -> None:
    real = answered(tmp_path, "val", wrong=0.0, data=5)

    def row(copies: int) -> LabelRow:
        judged = answered(tmp_path, "caption", copies=copies)
        return of(measure_labels([judged], [real], 2000), "disagreement")

    once, four = row(1), row(4)
    assert (once.n, four.n, once.value) == (90, 360, four.value)
    # Four copies of each image hold no more than one.
    assert (four.ci_low, four.ci_high) == pytest.approx((once.ci_low, once.ci_high), abs=0.01)


def test_a_share_that_does_not_vary_has_the_exact_interval(tmp_path: Path) -> None:
    judged = answered(tmp_path, "caption", wrong=0.0, skill=12.0)
    row = of(measure_labels([judged], [answered(tmp_path, "val", data=5)], 100), "wrong")
    # Clopper and Pearson of 0 of 90.
    assert (row.value, row.ci_low) == (0.0, 0.0)
    assert row.ci_high == pytest.approx(1 - 0.025 ** (1 / 90))


def test_judges_without_real_answers_or_of_other_images_are_refused(tmp_path: Path) -> None:
    real = answered(tmp_path, "val")
    judged = answered(tmp_path, "caption", seed=1)
    with pytest.raises(CapsynthError, match="no answers of its classifier, tiny, seed 1"):
        measure_labels([judged], [real], 100)
    both = [answered(tmp_path, "val", seed) for seed in range(2)]
    other = answered(tmp_path, "caption", seed=0, images=20)
    with pytest.raises(CapsynthError, match="seeds 0 and 1 answered different images"):
        measure_labels([judged, other], both, 100)


def test_tables_show_variants_and_then_what_real_images_say(tmp_path: Path) -> None:
    words = []
    for option, name in (("--judgements", "caption"), ("--references", "val")):
        files = [answered(tmp_path, name, seed, wrong=0.1, recipe=r) for seed in (0, 1)
                 for r in ("tiny", "big")]  # fmt: skip
        words += [option, *map(str, files)]
    out = tmp_path / "label-quality.csv"
    measure_label_quality.main([*words, "--draws", "100", "--output", str(out)])
    told = dump_json({"variants": ["class-name", "caption"], "judge": "real"})
    make_label_tables.main(
        ["--labels", str(out), "--config-json", told, "--output-dir", str(tmp_path)]
    )
    with (tmp_path / "label-quality.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(r["images"], r["recipe"]) for r in rows] == [
        ("caption", "big"), ("caption", "tiny"), ("val (real)", "big"), ("val (real)", "tiny"),
    ]  # fmt: skip
    assert {r["n"] for r in rows} == {"90"}
    assert {r["seeds"] for r in rows} == {"2"}
    assert len(list(tmp_path.glob("label-quality*.html"))) == 2
    text = (tmp_path / "label-quality-per-class.md").read_text()
    assert "Wrong labels (%)" in text
    assert "labels are taken for right" in text


def test_variants_without_a_row_are_refused_and_classes_without_a_sure_image_are_dashes(
    tmp_path: Path,
) -> None:
    row = LabelRow("variant", "caption", "tiny", "", "wrong", None, None, None, 3, 1)
    assert label_table([row], SETTINGS).rows[0][2].text == "\N{EN DASH}"
    with pytest.raises(CapsynthError, match="no labels of the variants other"):
        make_tables([row], replace(SETTINGS, variants=("other",)), tmp_path)

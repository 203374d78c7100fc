"""Prompts and ambiguity as rows and tables, against counting by hand."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from statsmodels.stats.proportion import proportion_confint

from capsynth.errors import CapsynthError
from capsynth.files import write_json_lines
from capsynth.predictions import write_predictions
from capsynth.prompting import PromptRecord
from capsynth.reporting.prompt_rows import PromptRow, measure_prompts
from capsynth.reporting.prompt_tables import (
    PromptTableSettings,
    make_prompt_tables,
    prompt_table,
)

CLASSES = ("bat", "car")
SETTINGS = PromptTableSettings(("class-name", "caption"), "real")


def record(key: str, prompt: str, source: str | None = None) -> PromptRecord:
    class_id = key.split("_")[0]
    return PromptRecord(
        key, class_id, CLASSES.index(class_id), 0, prompt, 0, source, "ok",
        None if source is None else class_id in prompt, "f",
    )  # fmt: skip


def predictions(
    path: Path, name: str, wrong: dict[str, bool], seed: int = 0, recipe: str = "tiny"
) -> Path:
    """Write predictions: of each key whether they are wrong."""
    keys = list(wrong)
    targets = np.array([CLASSES.index(key.split("_")[0]) for key in keys])
    said = np.where(list(wrong.values()), 1 - targets, targets)
    odds = np.full((len(keys), 2), 0.1, dtype=np.float32)
    odds[np.arange(len(keys)), said] = 0.9
    file = path / f"{name}-{recipe}-{seed}.parquet"
    write_predictions(
        file, keys=keys, targets=targets, probabilities=odds, class_ids=CLASSES, dataset="toy",
        training_set="real", recipe=recipe, seed=seed, eval_set=name, fingerprint="f",
    )  # fmt: skip
    return file


def prompt_file(path: Path, records: list[PromptRecord]) -> Path:
    write_json_lines(path, map(asdict, records))
    return path


@pytest.fixture
def rows(tmp_path: Path) -> list[PromptRow]:
    keys = [f"{c}_{i:03d}" for c in CLASSES for i in range(10)]
    rng = np.random.default_rng(0)
    captions = [record(k, f"a photo of a {k[:3]} {i % 4}", f"real_{k}") for i, k in enumerate(keys)]
    files = {
        "caption": [prompt_file(tmp_path / "c.jsonl", captions)],
        "class-name": [prompt_file(tmp_path / "n.jsonl", [record(k, f"a {k[:3]}") for k in keys])],
    }
    judged = [
        predictions(tmp_path, "caption", {k: i % 5 == seed for i, k in enumerate(keys)}, seed)
        for seed in range(2)
    ]
    own = [
        predictions(tmp_path, "val", {k: bool(rng.random() < 0.3) for k in keys}, seed)
        for seed in range(2)
    ]
    return measure_prompts(files, judged, own)


def of(rows: list[PromptRow], name: str, class_id: str = "") -> dict[str, PromptRow]:
    return {row.metric: row for row in rows if (row.name, row.class_id) == (name, class_id)}


def test_text_and_ambiguity_are_those_counted_by_hand(rows: list[PromptRow]) -> None:
    caption, names = of(rows, "caption"), of(rows, "class-name")
    assert (caption["words_mean"].value, names["words_mean"].value) == (6.0, 2.0)
    assert (caption["vocabulary"].value, names["vocabulary"].value) == (3 + 2 + 4, 3)
    assert (caption["class_word_coverage"].value, caption["class_word_coverage"].n) == (1.0, 20)
    assert names["class_word_coverage"].value is None
    assert of(rows, "caption", "bat")["vocabulary"].value == 3 + 1 + 4
    assert caption["disagreement"].value == pytest.approx(0.2)
    assert "disagreement" not in names
    assert set(of(rows, "val")) == {"disagreement"}
    assert (caption["disagreement"].n, of(rows, "val", "car")["disagreement"].n) == (20, 10)
    assert rows == sorted(
        rows, key=lambda row: (row.kind, row.name, row.recipe, row.class_id, row.metric)
    )


def test_the_interval_of_one_seed_is_a_score_interval_of_a_mean_within_class(
    tmp_path: Path,
) -> None:
    keys = [f"{c}_{i:03d}" for c in CLASSES for i in range(40)]
    wrong = {key: i % 4 == 0 for i, key in enumerate(keys)}
    prompts = {"caption": [prompt_file(tmp_path / "c.jsonl", [record(k, "a") for k in keys])]}
    judged = [predictions(tmp_path, "caption", wrong)]
    found = of(measure_prompts(prompts, judged, []), "caption")["disagreement"]
    flags = np.array(list(wrong.values()), dtype=float)
    # Each class borrows one image of the variance of all; one photograph is added.
    of_all = flags.var()
    squares = [((x - x.mean()) ** 2).sum() for x in (flags[:40], flags[40:])]
    variance = (40 * sum((found + of_all) / 40 for found in squares) + 1) / 80**2
    z = scipy.stats.norm.ppf(0.975)
    h = z**2 * variance / (0.25 * 0.75 + 1 / 80)
    middle, half = (0.25 + h / 2) / (1 + h), np.sqrt(h * 0.25 * 0.75 + h**2 / 4) / (1 + h)
    assert found.value == 0.25
    assert found.ci_low == pytest.approx(middle - half, abs=1e-9)
    assert found.ci_high == pytest.approx(middle + half, abs=1e-9)


@pytest.mark.parametrize("is_wrong", [False, True])
@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("each", [1, 40])
def test_judges_that_all_agree_leave_room_for_those_that_would_not(
    tmp_path: Path, is_wrong: bool, seeds: int, each: int
) -> None:
    keys = [f"{c}_{i:03d}" for c in CLASSES for i in range(each)]
    prompts = {"caption": [prompt_file(tmp_path / "c.jsonl", [record(k, "a") for k in keys])]}
    wrong = dict.fromkeys(keys, is_wrong)
    judged = [predictions(tmp_path, "caption", wrong, seed=seed) for seed in range(seeds)]
    for row in measure_prompts(prompts, judged, []):
        if row.metric == "disagreement":
            assert row.value == float(is_wrong)
            assert row.ci_low is not None
            assert row.ci_high is not None
            # Wilson's, of as many independent images.
            least = proportion_confint(row.n if is_wrong else 0, row.n, method="wilson")
            width = row.ci_high - row.ci_low
            assert width > 0.9 * (least[1] - least[0])


def test_images_of_one_source_are_drawn_together(tmp_path: Path) -> None:
    keys = [f"{c}_{i:03d}-{k}" for c in CLASSES for i in range(10) for k in range(4)]
    wrong = {key: int(key[4:7]) % 3 == 0 for key in keys}
    judged = [predictions(tmp_path, "caption", wrong)]

    def width(sources: list[str | None]) -> float:
        records = [record(k, "a bat", s) for k, s in zip(keys, sources, strict=True)]
        files = {"caption": [prompt_file(tmp_path / "c.jsonl", records)]}
        row = of(measure_prompts(files, judged, []), "caption")["disagreement"]
        assert row.ci_high is not None
        assert row.ci_low is not None
        return row.ci_high - row.ci_low

    # Four copies of each image hold no more than one: intervals are twice as wide.
    assert width([key[:7] for key in keys]) / width([None] * len(keys)) == pytest.approx(2, rel=0.2)


def test_judges_that_saw_other_images_or_unknown_variants_are_refused(tmp_path: Path) -> None:
    files = {"caption": [prompt_file(tmp_path / "c.jsonl", [record("bat_000", "a bat")])]}
    one = predictions(tmp_path, "caption", {"bat_000": False})
    other = predictions(tmp_path, "caption", {"bat_001": False}, seed=1)
    with pytest.raises(CapsynthError, match="seeds 0 and 1 answered different images"):
        measure_prompts(files, [one, other], [])
    strange = predictions(tmp_path, "elsewhere", {"bat_000": False})
    with pytest.raises(CapsynthError, match="images of 'elsewhere' have no prompts"):
        measure_prompts(files, [strange], [])


def test_tables_show_variants_in_their_order_and_the_judges_own_errors(
    rows: list[PromptRow], tmp_path: Path
) -> None:
    table = prompt_table(rows, SETTINGS)
    assert [row[0].text for row in table.rows] == ["class-name", "caption", "val (real)"]
    assert table.columns[-1].title == "Disagreement (%)"
    assert table.rows[1][-1].text.startswith("20.0 [")
    assert table.rows[0][-1].text == "\N{EN DASH}"
    assert "classifiers trained on 'real'" in table.note
    both = [*rows, *(replace(row, recipe="big") for row in rows if row.recipe)]
    titles = [column.title for column in prompt_table(both, SETTINGS).columns]
    assert titles[-2:] == ["Disagreement, big (%)", "Disagreement, tiny (%)"]
    make_prompt_tables(rows, SETTINGS, tmp_path)
    assert len(list(tmp_path.glob("prompts*.*"))) == 8
    assert len(prompt_table(rows, SETTINGS, by_class=True).rows) == 6
    text_only = [row for row in rows if not row.recipe]
    assert "Disagreement" not in prompt_table(text_only, SETTINGS).note
    with pytest.raises(CapsynthError, match="no prompts of the variants other"):
        make_prompt_tables([], replace(SETTINGS, variants=("other",)), tmp_path)

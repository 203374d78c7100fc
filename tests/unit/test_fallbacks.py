"""Prompts that lack what their variant is named after are counted, shown and bounded."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from capsynth.captions import STATUSES
from capsynth.classes import ClassInfo
from capsynth.errors import CapsynthError
from capsynth.fallbacks import REASONS, check_fallbacks
from capsynth.files import read_json_lines, write_json_lines
from capsynth.prompting import PromptSettings, write_prompts
from capsynth.reporting.fallback_notes import fallback_notes
from capsynth.reporting.prompt_rows import measure_prompts
from capsynth.reporting.prompt_tables import PromptTableSettings, prompt_table

CAPTION = PromptSettings(
    dataset="d", strategy="caption", templates=("a photo of a {class_name}, {caption}",),
    backgrounds=(), images_per_class=None, images_per_caption=1.0, on_classless="keep", seed=0,
)  # fmt: skip
SUBJECT = replace(
    CAPTION,
    strategy="subject-background",
    templates=("a photo of a {class_name}, {subject} {background}",),
    backgrounds=("at night",),
)


def written(
    path: Path,
    captions: Sequence[tuple[str, str]],
    chosen: PromptSettings = CAPTION,
    max_fallback: float = 1.0,
) -> Path:
    """Write the prompts of captions, each a text and its status."""
    rows = [
        {"key": f"src{i}", "class_id": "bat", "index": i, "number": 0, "caption": c, "status": s}
        for i, (c, s) in enumerate(captions)
    ]
    source, out = path / "bat-0.jsonl", path / "prompts.jsonl"
    write_json_lines(source, rows)
    write_prompts(chosen, ClassInfo("bat", "bat"), 0, 0, 1, source, out, max_fallback, "told")
    return out


def test_captions_that_are_all_empty_are_refused_with_the_variant_the_class_and_the_remedy(
    tmp_path: Path,
) -> None:
    with pytest.raises(CapsynthError) as refused:
        written(tmp_path, [("", "empty")] * 57, max_fallback=0.1)
    said = str(refused.value)
    assert "variants.told, class shard bat-0: 57 of 57 captions cannot be used" in said
    assert "(57 empty), and max_fallback 0.1 allows 6" in said
    assert "caption again; or raise variants.told.max_fallback" in said
    assert not (tmp_path / "prompts.jsonl").exists()


def test_where_they_are_let_through_every_table_and_note_says_57_of_57(tmp_path: Path) -> None:
    out = written(tmp_path, [("", "empty")] * 57)
    rows = measure_prompts({"told": [out]}, [], [])
    for by_class in (False, True):
        table = prompt_table(rows, PromptTableSettings(("told",), ""), by_class)
        titles = [column.title for column in table.columns]
        cell = table.rows[0][titles.index("Fell back")]
        assert (cell.text, cell.csv_values) == ("57 of 57", ("100.0",))
        assert "Fell back: prompts that lack" in table.note
    (note,) = fallback_notes({"told": [out]}, {"told": ["told"], "real": [], "both": ["told"]})
    assert note.startswith(
        "Of the 57 prompts of variant told, 57 (100.0%) fell back, as their captions are 57 empty: "
        "their images, in training set told, both, "
    )


def test_every_prompt_says_why_it_fell_back(tmp_path: Path) -> None:
    captions = [
        ("a bat on a roof", "ok"),
        ("", "empty"),
        ("", "repeated"),  # emptied by on_repeated
        ("a bat as before", "not-rewritten"),
        ("a bat", "repeated"),  # trimmed
        ("a bird", "cut"),
        ("on a roof, a bat", "ok"),
    ]
    expected = {
        "keep": [None, "empty-caption", "empty-caption", "not-rewritten", None, None, None],
        "class-name": [
            None, "empty-caption", "empty-caption", "not-rewritten", None, "no-class-word", None,
        ],
    }  # fmt: skip
    for policy, reasons in expected.items():
        rows = read_json_lines(written(tmp_path, captions, replace(CAPTION, on_classless=policy)))
        assert [row["fell_back"] for row in rows] == reasons
        assert [row["caption_status"] for row in rows] == [status for _, status in captions]
    rows = read_json_lines(written(tmp_path, captions, SUBJECT))
    assert [row["fell_back"] for row in rows] == [*expected["keep"][:6], "no-subject"]
    # The whole caption stands, with its own background: the factor of the strategy is not there.
    assert rows[-1]["prompt"] == "a photo of a bat, on a roof, a bat at night"
    assert set(STATUSES) & set(REASONS) == {"not-rewritten"}


def test_reasons_and_faulty_captions_are_counted_apart(tmp_path: Path) -> None:
    captions = [("", "empty"), ("a bat", "repeated"), ("a bat", "cut"), ("a bird", "ok")]
    out = written(tmp_path, captions, replace(CAPTION, on_classless="class-name"))
    rows = measure_prompts({"told": [out]}, [], [])
    found = {row.metric: row for row in rows if not row.class_id}
    assert {name: row.value for name, row in found.items() if name.startswith("fell_back")} == {
        "fell_back": 0.5,
        "fell_back_empty": 0.25,
        "fell_back_not_rewritten": 0.0,
        "fell_back_no_subject": 0.0,
        "fell_back_no_class_word": 0.25,
    }
    assert (found["caption_repeated"].value, found["caption_cut"].value) == (0.25, 0.25)
    assert found["fell_back"].n == 4


def test_variants_without_captions_cannot_fall_back(tmp_path: Path) -> None:
    chosen = replace(
        CAPTION, strategy="class-name", templates=("a {class_name}",), images_per_class=3
    )
    out = tmp_path / "names.jsonl"
    write_prompts(chosen, ClassInfo("bat", "bat"), 0, 0, 1, None, out, 0.0, "names")
    (row,) = [
        r
        for r in measure_prompts({"names": [out]}, [], [])
        if (r.metric, r.class_id) == ("fell_back", "")
    ]
    assert row.value is None
    assert list(fallback_notes({"names": [out]}, {})) == []


@pytest.mark.parametrize(
    ("reasons", "captions", "bound", "is_refused"),
    [
        ({"empty-caption": 1}, 40, 0.1, False),
        ({"empty-caption": 4}, 40, 0.1, False),
        ({"empty-caption": 5}, 40, 0.1, True),
        ({"empty-caption": 29}, 100, 0.29, False),
        ({"empty-caption": 3, "not-rewritten": 1, "no-subject": 1}, 40, 0.1, True),
        # What the configuration asks for is shown, not refused.
        ({"no-class-word": 40}, 40, 0.1, False),
        # A share of one image is one image, but all of a shard's is no share.
        ({"empty-caption": 1}, 3, 0.1, False),
        ({"empty-caption": 1}, 1, 0.1, True),
        ({"empty-caption": 1}, 40, 0.0, True),
        ({"empty-caption": 40}, 40, 1.0, False),
        ({}, 0, 0.1, False),
    ],
)
def test_the_bound_counts_whole_captions_that_nobody_asked_to_leave_out(
    reasons: dict[str, int], captions: int, bound: float, is_refused: bool
) -> None:
    if not is_refused:
        check_fallbacks(reasons, captions, bound, "told", "bat-0")
        return
    with pytest.raises(CapsynthError, match=f"of {captions} captions cannot be used"):
        check_fallbacks(reasons, captions, bound, "told", "bat-0")

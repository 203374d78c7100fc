"""Prompts: what each strategy asks for, with the seeds that pair variants."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capsynth.captions import CaptionRecord
from capsynth.errors import CapsynthError
from capsynth.files import read_json_lines, write_json_lines
from capsynth.prompting import STRATEGIES, PromptSettings, fill, write_prompts


def settings(strategy: str, **changes: Any) -> PromptSettings:
    needs = STRATEGIES[strategy].needs_captions if strategy in STRATEGIES else False
    values: dict[str, Any] = {
        "dataset": "d",
        "strategy": strategy,
        "template": None,
        "images_per_class": None if needs else 5,
        "seed": 0,
    }
    return PromptSettings(**{**values, **changes})


def prompts(tmp_path: Path, chosen: PromptSettings, part: int = 0, parts: int = 1) -> list[Any]:
    captions = tmp_path / "captions.jsonl"
    texts = ["a black bat at night", "", "a {bat} in braces"]
    records = [CaptionRecord(f"src{i}", "n1", i, 0, t, t, "ok", "m") for i, t in enumerate(texts)]
    write_json_lines(captions, map(asdict, records))
    out = tmp_path / "prompts.jsonl"
    write_prompts(chosen, "n1", "bat", 4, part, parts, captions, out)
    return read_json_lines(out)


def test_class_name_prompts_are_all_the_same_with_seeds_of_their_own(tmp_path: Path) -> None:
    rows = prompts(tmp_path, settings("class-name"))
    assert {row["prompt"] for row in rows} == {"a photo of a bat"}
    assert [row["key"] for row in rows] == [f"n1_{i:06d}" for i in range(5)]
    assert len({row["seed"] for row in rows}) == 5
    assert {row["source_key"] for row in rows} == {None}


def test_caption_prompts_follow_the_class_name_and_keep_braces(tmp_path: Path) -> None:
    rows = prompts(tmp_path, settings("caption"))
    assert [row["prompt"] for row in rows] == [
        "a photo of a bat, a black bat at night",
        "a photo of a bat",
        "a photo of a bat, a {bat} in braces",
    ]
    assert [row["status"] for row in rows] == ["ok", "fallback", "ok"]
    assert [row["source_key"] for row in rows] == ["src0", "src1", "src2"]


def test_a_template_of_ones_own_is_used(tmp_path: Path) -> None:
    rows = prompts(tmp_path, settings("caption-only", template="{caption}!"))
    assert rows[0]["prompt"] == "a black bat at night!"


def test_variants_of_one_index_share_their_noise(tmp_path: Path) -> None:
    by_name = prompts(tmp_path, settings("class-name"))
    by_caption = prompts(tmp_path, settings("caption"))
    assert [r["seed"] for r in by_name[:3]] == [r["seed"] for r in by_caption]
    other = prompts(tmp_path, settings("caption", seed=1))
    assert not {r["seed"] for r in other} & {r["seed"] for r in by_caption}


@given(parts=st.integers(1, 5))
def test_parts_share_out_all_images_and_keep_their_seeds(
    tmp_path_factory: pytest.TempPathFactory, parts: int
) -> None:
    folder = tmp_path_factory.mktemp("parts")
    chosen = settings("class-name", images_per_class=30)
    whole = {row["key"]: row["seed"] for row in prompts(folder, chosen)}
    pieces = [row for part in range(parts) for row in prompts(folder, chosen, part, parts)]
    assert {row["key"]: row["seed"] for row in pieces} == whole
    assert len(pieces) == 30


def test_unknown_placeholders_and_strategies_are_named(tmp_path: Path) -> None:
    with pytest.raises(CapsynthError, match=r"\{captoin\} is not known"):
        fill("a {captoin}", "bat", "x")
    with pytest.raises(CapsynthError, match="strategy 'captoin' is not known"):
        prompts(tmp_path, settings("captoin"))

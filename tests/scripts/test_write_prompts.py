"""The command line that writes prompts."""

from pathlib import Path
from typing import Any

import pytest

import write_prompts
from capsynth.errors import CapsynthError
from capsynth.files import dump_json, read_json_lines, write_json_lines

SETTINGS = {
    "dataset": "d",
    "strategy": "caption-background",
    "templates": ["a {class_name}, {caption}, {background}"],
    "backgrounds": ["at night"],
    "images_per_class": None,
    "images_per_caption": 2.0,
    "on_classless": "drop",
    "seed": 0,
}
ABOUT = {"class_id": "n1", "class_name": "bat", "definition": None, "hypernym": None}


def run(folder: Path, **changes: Any) -> list[dict[str, Any]]:
    """Write the prompts of a shard with two captions and return them."""
    captions = folder / "captions.jsonl"
    row = {"key": "a", "class_id": "n1", "index": 0}
    texts = ["bats in a cave", "a bird"]
    write_json_lines(captions, [{**row, "number": i, "caption": t} for i, t in enumerate(texts)])
    values = {
        "settings": dump_json(SETTINGS),
        "shard": "n1-0",
        "class_info": dump_json(ABOUT),
        "class_index": 3,
        "parts_per_class": 1,
        "captions": captions,
        "output": folder / "prompts.jsonl",
        **changes,
    }
    words = [(f"--{k.replace('_', '-')}", str(v)) for k, v in values.items() if v is not None]
    write_prompts.main([word for pair in words for word in pair])
    return read_json_lines(folder / "prompts.jsonl")


def test_prompts_of_a_shard_are_written_with_all_that_is_known_of_them(tmp_path: Path) -> None:
    rows = run(tmp_path)
    assert [(r["key"], r["prompt"], r["status"], r["has_class_word"]) for r in rows] == [
        ("n1_000000", "a bat, bats in a cave, at night", "ok", True),
        ("n1_000000-1", None, "dropped", False),
        ("n1_000000-2", "a bat, bats in a cave, at night", "ok", True),
        ("n1_000000-3", None, "dropped", False),
    ]
    assert {r["source_key"] for r in rows} == {"a"}
    assert len({r["fingerprint"] for r in rows}) == 1


def test_the_same_settings_give_the_same_bytes_and_others_another_fingerprint(
    tmp_path: Path,
) -> None:
    first = run(tmp_path)
    before = (tmp_path / "prompts.jsonl").read_bytes()
    run(tmp_path, settings=dump_json(dict(reversed(SETTINGS.items()))))
    assert (tmp_path / "prompts.jsonl").read_bytes() == before
    other = run(tmp_path, class_info=dump_json({**ABOUT, "class_name": "bats"}))
    assert other[0]["fingerprint"] != first[0]["fingerprint"]


def test_captions_that_say_nothing_stop_the_shard_before_anything_is_drawn(tmp_path: Path) -> None:
    captions = tmp_path / "n1-0.jsonl"
    about = {"key": "a", "class_id": "n1", "index": 0, "caption": "", "status": "empty"}
    write_json_lines(captions, [{**about, "key": f"k{i}", "index": i} for i in range(57)])
    values = {"captions": captions, "variant": "told", "max_fallback": 0.1}
    with pytest.raises(CapsynthError, match=r"variants\.told, class shard n1-0: 57 of 57 captions"):
        run(tmp_path, **values)
    assert not (tmp_path / "prompts.jsonl").exists()
    assert len(run(tmp_path, **{**values, "max_fallback": 1})) == 114


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"captions": None}, "'caption-background' needs captions; give --captions"),
        ({"shard": "n2-0"}, "--class-info is of 'n1' but --shard of 'n2'"),
        ({"class_info": '{"class_id": "n1"}'}, "settings lack 'class_name'"),
        ({"settings": dump_json({**SETTINGS, "strategy": "x"})}, "unknown strategy 'x'"),
    ],
)
def test_what_does_not_fit_together_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(CapsynthError, match=message):
        run(tmp_path, **changes)

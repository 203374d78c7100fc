"""Rewriting captions: tiny language models of random weights, and what becomes of bad rewrites."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from language_models import WORDS, build_language_model

import rewrite_captions
from capsynth import rewriting
from capsynth.captions import CaptionRecord
from capsynth.decoding import Utterance
from capsynth.errors import CapsynthError
from capsynth.files import dump_json, read_json_lines, write_json_lines
from capsynth.rewriting import RewriterSettings, ask, judge, rewrite_batch


class Stopped(Exception):
    """Stands for a kill in the middle of the stage."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """``model("llama")`` and ``model("gpt2")`` are folders of tiny language models."""
    folder = tmp_path_factory.mktemp("models")
    built = {kind: build_language_model(folder / kind, kind) for kind in ("llama", "gpt2")}
    return built.__getitem__


def settings_of(**changes: Any) -> RewriterSettings:
    values = RewriterSettings(
        model="m",
        revision=None,
        dtype="float32",
        batch_size=3,
        max_new_tokens=12,
        num_captions=2,
        prompt="the {class_name} : {caption}",
        temperature=1.0,
        top_p=1.0,
        seed=1,
        min_words=2,
        max_words=8,
        ascii_only=True,
        retries=4,
    )
    return replace(values, **changes)


def record(key: str, number: int, caption: str) -> CaptionRecord:
    return CaptionRecord(key, "bat", int(key[-1]), number, caption, caption, "ok", "f")


CAPTIONS = [
    record("k0", 0, "a red cat"),
    record("k0", 1, "a small old dog under the snow"),
    record("k1", 0, ""),
    record("k1", 1, "the boat"),
    record("k2", 0, "night"),
]


def rewrite(model: Path, folder: Path, name: str, **changes: Any) -> list[dict[str, Any]]:
    captions, output = folder / "captions.jsonl", folder / f"{name}.jsonl"
    write_json_lines(captions, [vars(caption) for caption in CAPTIONS])
    settings = settings_of(model=str(model), **changes)
    flags = {
        "settings": dump_json(vars(settings)),
        "model-mark": "m",
        "class-name": "bird",
        "captions": captions,
        "threads": 1,
        "output": output,
    }
    rewrite_captions.main([f"--{name}={value}" for name, value in flags.items()])
    return read_json_lines(output)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_every_caption_gets_its_rewrites_alike_in_batches_of_1_and_8(
    kind: str, tmp_path: Path, model: Callable[[str], Path]
) -> None:
    alone = rewrite(model(kind), tmp_path, "alone", batch_size=1)
    together = rewrite(model(kind), tmp_path, "together", batch_size=8)
    assert [{**row, "fingerprint": ""} for row in alone] == [
        {**row, "fingerprint": ""} for row in together
    ]
    assert [(row["key"], row["number"]) for row in alone] == [
        *(("k0", number) for number in range(4)),
        *(("k1", number) for number in range(4)),
        *(("k2", number) for number in range(2)),
    ]
    taken = [row for row in alone if row["status"] == "ok"]
    assert len({row["caption"] for row in taken}) == len(taken) > 2
    assert all(2 <= len(row["caption"].split()) <= 8 for row in taken)
    assert [row["status"] for row in alone[4:6]] == ["empty", "empty"]


def test_rewriting_that_was_stopped_ends_in_the_same_bytes(
    tmp_path: Path, model: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    rewrite(model("llama"), tmp_path, "whole")
    real, count = rewriting.rewrite_batch, itertools.count()

    def limited(*args: Any) -> Any:
        if next(count) == 2:
            raise Stopped
        return real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(rewriting, "rewrite_batch", limited)
        with pytest.raises(Stopped):
            rewrite(model("llama"), tmp_path, "stopped")
    assert not (tmp_path / "stopped.jsonl").exists()
    rewrite(model("llama"), tmp_path, "stopped")
    whole, stopped = (tmp_path / f"{name}.jsonl" for name in ("whole", "stopped"))
    assert stopped.read_bytes() == whole.read_bytes()


def test_other_settings_make_other_rewrites(tmp_path: Path, model: Callable[[str], Path]) -> None:
    one, other = (rewrite(model("gpt2"), tmp_path, f"seed{s}", seed=s) for s in (1, 2))
    assert [row["raw"] for row in one] != [row["raw"] for row in other]
    assert {row["fingerprint"] for row in one}.isdisjoint(row["fingerprint"] for row in other)


# ---- what is taken, and what happens to the rest ------------------------------------------------


class Scripted:
    """A rewriter that says prepared texts, one list a try."""

    def __init__(self, settings: RewriterSettings, *tries: Sequence[str]) -> None:
        self.settings = settings
        self.tries = list(tries)
        self.asked: list[list[str]] = []
        self.seeds: set[int] = set()

    def answer(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[Utterance]:
        self.asked.append(list(prompts))
        self.seeds |= set(seeds)
        return [Utterance(text, True) for text in self.tries.pop(0)]


def test_refused_rewrites_are_tried_again_and_given_up_in_the_end() -> None:
    settings = settings_of(num_captions=1, retries=2)
    scripted = Scripted(
        settings,
        ["a cat runs", "cat", "dog", "boat"],
        ["bird", "a dog runs", "sea"],
        ["snow snow snow snow", "a"],
    )
    orders = [(caption, 0) for caption in CAPTIONS]
    made = rewrite_batch(scripted, orders, "bird", "f")
    assert [(row.caption, row.raw, row.status) for row in made] == [
        ("a cat runs", "a cat runs", "ok"),
        ("a small old dog under the snow", "snow snow snow snow", "not-rewritten"),
        ("", "", "empty"),
        ("a dog runs", "a dog runs", "ok"),
        ("night", "a", "not-rewritten"),
    ]
    assert [len(prompts) for prompts in scripted.asked] == [4, 3, 2]
    assert scripted.asked[0][0] == "the bird : a red cat"
    assert len(scripted.seeds) == 9


@pytest.mark.parametrize(
    ("text", "rewrite"),
    [
        ("a cat sits", "a cat sits"),
        ('\n\n "A cat sits."\n\nIs that what you wanted?', "A cat sits."),
        ("\u201ca cat sits\u201d", "a cat sits"),
        ("cat", None),
        (" ".join(WORDS), None),
        ("a cat in a caf\u00e9", None),
        ("a cat a cat a cat", None),
        ("", None),
        ("...\n", None),
    ],
)
def test_what_is_taken_for_a_rewrite(text: str, rewrite: str | None) -> None:
    assert judge(Utterance(text, True), settings_of()) == rewrite


def test_a_rewrite_that_the_limit_ended_is_taken_only_up_to_a_line_break() -> None:
    assert judge(Utterance("a cat sits on", False), settings_of()) is None
    assert judge(Utterance("a cat sits on\nthe", False), settings_of()) == "a cat sits on"


def test_letters_outside_ascii_are_taken_where_they_are_wanted() -> None:
    said = Utterance("a cat in a caf\u00e9", True)
    assert judge(said, settings_of(ascii_only=False)) == "a cat in a caf\u00e9"


def test_the_default_bounds_are_those_of_the_released_code() -> None:
    bounds = {"min_words": 6, "max_words": 64}
    for n, taken in ((5, False), (6, True), (64, True), (65, False)):
        text = " ".join(f"w{i}" for i in range(n))
        assert (judge(Utterance(text, True), settings_of(**bounds)) is not None) == taken


def test_braces_of_a_caption_stay_and_unknown_placeholders_are_named() -> None:
    assert ask("{class_name}: {caption}", "a {bat}", "bat") == "bat: a {bat}"
    for prompt in ("{caption} {x}", "{caption", "{caption.x}", "{}"):
        with pytest.raises(CapsynthError, match=r"use \{caption\} and \{class_name\}"):
            ask(prompt, "a bat", "bat")

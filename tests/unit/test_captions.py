"""Captions: what is cleaned, what is found wrong, what each policy does about it."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from capsynth.captions import (
    CUT,
    EMPTY,
    OK,
    ON_CUT,
    ON_REPEATED,
    REPEATED,
    STATUSES,
    CaptionPolicy,
    assess,
    clean,
    count_statuses,
    up_to_boundary,
    without_loops,
)
from capsynth.errors import CapsynthError

# Any text, and texts of few words, which loop.
ANY = st.text(st.characters())  # lone surrogates included
FEW = st.lists(st.sampled_from("a cat, dog and sat. on . <|x|> </s>".split())).map(" ".join)
TEXTS = ANY | FEW
POLICIES = st.builds(CaptionPolicy, st.sampled_from(ON_REPEATED), st.sampled_from(ON_CUT))


@given(TEXTS)
@example("<|a<|b|>|>")
@example("</<s>s>")
@example("[CL\x00S] [CLS]")
def test_cleaning_a_clean_text_changes_nothing(text: str) -> None:
    assert clean(clean(text)) == clean(text)


@given(TEXTS)
def test_a_clean_text_is_one_line_of_words_with_single_spaces(text: str) -> None:
    cleaned = clean(text)
    assert cleaned == " ".join(cleaned.split())
    assert not any(ord(sign) < 32 or 127 <= ord(sign) < 160 for sign in cleaned)
    assert len(cleaned) <= len(text)


@given(TEXTS, st.booleans(), POLICIES)
def test_every_text_gets_a_caption_no_longer_than_itself_and_a_status(
    raw: str, ended: bool, policy: CaptionPolicy
) -> None:
    caption, status = assess(raw, ended, policy)
    assert status in STATUSES
    assert len(caption) <= len(raw)
    assert caption == clean(caption)
    assert (status == EMPTY) <= (caption == "")
    assert (status == OK) <= (caption == clean(raw) != "" and ended)
    assert (status == CUT) <= (not ended)


@given(TEXTS)
def test_a_trimmed_caption_is_in_order(raw: str) -> None:
    caption, status = assess(raw, True, CaptionPolicy("trim", "trim"))
    assert assess(caption, True, CaptionPolicy("trim", "trim")) in [
        (caption, OK),
        ("", EMPTY),
    ]
    assert status != CUT


@given(TEXTS)
def test_cutting_loops_twice_is_cutting_them_once(raw: str) -> None:
    text = clean(raw)
    once = without_loops(text)
    assert without_loops(once) == once
    # Only words go, and the signs at the end.
    assert set(once.split()) <= set(text.split()) | {once.split(" ")[-1]}


@given(
    st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=8, unique=True),
    st.integers(3, 6),
)
def test_a_loop_is_cut_down_to_its_first_round(phrase: list[str], rounds: int) -> None:
    once = " ".join(phrase)
    looped = " ".join([once] * rounds)
    assert without_loops(looped) == once
    # ... with part of another round behind it, with words before it.
    assert without_loops(f"{looped} {phrase[0]}") == once
    assert without_loops(f"one two {looped}") == f"one two {once}"


@pytest.mark.parametrize(
    ("text", "caption"),
    [
        ("a cat a cat a cat", "a cat"),
        ("A cat, a cat, a cat,", "A cat"),
        ("a cat and a cat and a cat and", "a cat"),
        ("a dog on a beach a dog on a beach a dog", "a dog on a beach"),
        ("a dog dog dog on a beach", "a dog on a beach"),
        # No loops: two rounds of a short phrase, and rounds that are not next to each other.
        ("a very very good boy", "a very very good boy"),
        ("row after row after row", "row after row after row"),
        ("a cat and a dog and a cat", "a cat and a dog and a cat"),
        ("", ""),
    ],
)
def test_loops_are_told_from_english(text: str, caption: str) -> None:
    assert without_loops(text) == caption


@pytest.mark.parametrize(
    ("text", "caption"),
    [
        ("a dog on a beach, with a", "a dog on a beach"),
        ("A dog. It stands on a", "A dog."),
        ("A dog. It stands, and", "A dog. It stands"),
        ("A dog stands.", "A dog stands."),
        ("3.5 dogs and", "3.5 dogs and"),
        (", a dog", ", a dog"),
        ("", ""),
    ],
)
def test_a_cut_caption_goes_back_to_its_last_boundary(text: str, caption: str) -> None:
    assert up_to_boundary(text) == caption


@pytest.mark.parametrize(
    ("raw", "ended", "policy", "caption", "status"),
    [
        (" a photo of\ta cat\n", True, ("trim", "keep"), "a photo of a cat", OK),
        ("<s> a cat<|im_end|></s>", True, ("trim", "keep"), "a cat", OK),
        ("", True, ("trim", "keep"), "", EMPTY),
        (" . <pad>", False, ("trim", "keep"), "", EMPTY),
        ("a a a a", False, ("trim", "empty"), "a", REPEATED),
        ("a a a a", True, ("keep", "keep"), "a a a a", REPEATED),
        ("a a a a", True, ("empty", "keep"), "", REPEATED),
        ("a dog, on a", False, ("trim", "keep"), "a dog, on a", CUT),
        ("a dog, on a", False, ("trim", "trim"), "a dog", CUT),
        ("a dog, on a", False, ("trim", "empty"), "", CUT),
    ],
)
def test_each_policy_does_what_it_says(
    raw: str, ended: bool, policy: tuple[str, str], caption: str, status: str
) -> None:
    assert assess(raw, ended, CaptionPolicy(*policy)) == (caption, status)


def test_an_unknown_policy_is_named() -> None:
    with pytest.raises(CapsynthError, match="unknown on_cut 'trimm'; did you mean 'trim'"):
        CaptionPolicy("trim", "trimm")


def test_statuses_are_counted_in_words() -> None:
    rows = [{"status": status} for status in (OK, CUT, OK, EMPTY)]
    assert count_statuses(rows) == "2 ok, 1 empty, 1 cut"

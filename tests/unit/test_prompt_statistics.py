"""Statistics of prompts, against counting by hand and against drawing samples."""

import math
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from capsynth import prompt_statistics
from capsynth.classes import ClassInfo
from capsynth.errors import CapsynthError
from capsynth.files import write_json_lines
from capsynth.prompt_statistics import (
    expected_kinds,
    read_prompts,
)
from capsynth.prompting import PromptRecord, PromptSettings, write_prompts

TEXTS = st.lists(st.lists(st.sampled_from("abc"), max_size=7), max_size=6)


def record(prompt: str | None, **changes: Any) -> PromptRecord:
    values = {"class_index": 0, "index": 0, "seed": 0, "source_key": None, "status": "ok"}
    more = {"has_class_word": None, "fingerprint": "f", **changes}
    return PromptRecord(key="k", class_id="cat", prompt=prompt, **{**values, **more})


def of(*prompts: str) -> prompt_statistics.PromptStatistics:
    return prompt_statistics.prompt_statistics(map(record, prompts))


def grams(text: list[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(text[i : i + n]) for i in range(len(text) - n + 1)]


@given(TEXTS)
def test_ngrams_are_those_that_are_counted_one_by_one(texts: list[list[str]]) -> None:
    made = of(*map(" ".join, texts))
    for n in (1, 2, 3):
        every = [gram for text in texts for gram in grams(text, n)]
        expected = len(set(every)) / len(every) if every else float("nan")
        assert getattr(made, f"distinct_{n}") == pytest.approx(expected, nan_ok=True)
    documents = Counter(gram for text in texts for gram in set(grams(text, 4)))
    logs = [math.log(1 + sum(documents[g] - 1 for g in set(grams(t, 4)))) for t in texts]
    expected = sum(logs) / len(logs) if logs else float("nan")
    assert made.self_repetition == pytest.approx(expected, nan_ok=True)
    assert made.vocabulary == len({word for text in texts for word in text})


def test_words_are_lower_case_and_ngrams_stay_in_their_prompt() -> None:
    made = of("A photo of a Cat, on-grass", "a PHOTO of a dog!")
    assert (made.words_least, made.words_most) == (5, 7)
    assert (made.words_mean, made.words_median) == (6, 6)
    assert made.vocabulary == 7
    assert made.distinct_1 == 7 / 12
    # "grass a" is no pair; "a photo", "photo of" and "of a" stand twice.
    assert made.distinct_2 == 7 / 10
    assert made.self_repetition == pytest.approx(math.log(2))


def test_prompts_that_equal_another_one_are_repeated() -> None:
    made = of("a photo of a cat", "A photo of a cat.", "a photo of a dog", "a cat")
    assert made.repeated == 0.5
    assert of("a cat", "a dog").repeated == 0


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=4).filter(lambda counts: sum(counts) <= 9),
    st.integers(1, 9),
)
def test_expected_kinds_are_the_mean_over_all_samples(counts: list[int], sample: int) -> None:
    things = [kind for kind, count in enumerate(counts) for _ in range(count)]
    every = [len(set(chosen)) for chosen in combinations(things, sample)]
    expected = sum(every) / len(every) if every else float("nan")
    made = expected_kinds(np.array(counts), sample)
    assert made == pytest.approx(expected, rel=1e-9, nan_ok=True)


def test_expected_kinds_of_many_things_are_exact() -> None:
    counts = np.random.default_rng(0).zipf(1.5, size=5000).clip(max=10**6)
    total, sample = int(counts.sum()), 1000
    missed = scipy.stats.hypergeom.pmf(0, total, counts, sample)
    assert expected_kinds(counts, sample) == pytest.approx((1 - missed).sum(), rel=1e-6)


def test_expected_numbers_do_not_grow_with_the_text_where_plain_ones_do() -> None:
    rng = np.random.default_rng(0)
    words = np.array([f"w{i}" for i in range(3000)])
    odds = 1 / np.arange(1, 3001)
    drawn = rng.choice(words, size=(4000, 10), p=odds / odds.sum())
    small, large = (of(*map(" ".join, drawn[:n])) for n in (400, 4000))
    assert large.expected_distinct_1 == pytest.approx(small.expected_distinct_1, rel=0.03)
    assert large.expected_vocabulary == pytest.approx(small.expected_vocabulary, rel=0.03)
    assert large.vocabulary > 2 * small.vocabulary
    assert large.distinct_1 < 0.5 * small.distinct_1


def test_the_expected_vocabulary_is_that_of_drawn_prompts() -> None:
    rng = np.random.default_rng(1)
    prompts = [" ".join(rng.choice(list("abcdefghijklmnop"), size=3)) for _ in range(120)]
    prompts += [f"rare{i} rare{i}" for i in range(30)]
    samples = [
        len({word for i in rng.permutation(150)[:100] for word in prompts[i].split()})
        for _ in range(2000)
    ]
    error = np.std(samples) / len(samples) ** 0.5
    assert of(*prompts).expected_vocabulary == pytest.approx(np.mean(samples), abs=4 * error)


def test_too_little_text_has_no_expected_numbers() -> None:
    made = of(*["a photo of a cat"] * 99)
    assert np.isnan([made.expected_distinct_1, made.expected_vocabulary]).all()
    assert not np.isnan(of(*["a photo of a cat"] * 100).expected_vocabulary)


def test_no_prompts_have_no_statistics() -> None:
    made = of()
    assert (made.prompts, made.vocabulary) == (0, 0)
    numbers = (made.words_mean, made.distinct_3, made.repeated, made.self_repetition)
    assert np.isnan([*numbers, made.fallback, made.class_word_coverage]).all()


def test_dropped_and_fallback_prompts_are_counted(tmp_path: Path) -> None:
    said = {"a": "a cat on grass", "b": "an animal", "c": "", "d": "two cats"}
    rows = [
        {"key": key, "index": index, "number": 0, "caption": caption}
        for index, (key, caption) in enumerate(said.items())
    ]
    write_json_lines(tmp_path / "captions.jsonl", rows)
    settings = {
        "dataset": "d", "strategy": "caption", "templates": ("a {class_name}, {caption}",),
        "backgrounds": (), "images_per_class": None, "images_per_caption": 1.0, "seed": 0,
    }  # fmt: skip
    output = tmp_path / "prompts.jsonl"
    made = {}
    for policy in ("keep", "class-name", "drop"):
        write_prompts(
            PromptSettings(**settings, on_classless=policy), ClassInfo("cat", "cat"), 0, 0, 1,
            tmp_path / "captions.jsonl", output,
        )  # fmt: skip
        made[policy] = prompt_statistics.prompt_statistics(read_prompts([output]))
    # Two of four captions have the word, whatever is done about the others; an empty one has not.
    assert {statistics.class_word_coverage for statistics in made.values()} == {0.5}
    assert [(m.prompts, m.dropped, m.fallback) for m in made.values()] == [
        (4, 0, 0.25),
        (4, 0, 0.5),
        (3, 1, 1 / 3),
    ]
    assert made["keep"].words_mean == (6 + 4 + 2 + 4) / 4


def test_files_that_are_no_prompts_are_refused(tmp_path: Path) -> None:
    write_json_lines(tmp_path / "p.jsonl", [{"key": "k"}])
    with pytest.raises(CapsynthError, match=r"p\.jsonl:1: .* write the prompts anew"):
        list(read_prompts([tmp_path / "p.jsonl"]))

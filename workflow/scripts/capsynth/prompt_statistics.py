"""What captions add to prompts: length, vocabulary, repetition, class words.

Words are runs of letters and digits in lower case, as where class words are looked for
(``wording.words_of``). N-grams do not go on from one prompt to the next.

More text has more words but fewer new ones, so counts of two variants are compared at one size: a
number that is *expected* is the mean over all samples of that size, computed and not drawn
(rarefaction; Hurlbert, Ecology 52(4), 1971).
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt

from capsynth.captions import CUT, NOT_REWRITTEN, REPEATED
from capsynth.errors import CapsynthError
from capsynth.fallbacks import EMPTY_CAPTION, NO_CLASS_WORD, NO_SUBJECT, REASONS
from capsynth.files import read_json_lines
from capsynth.prompting import DROPPED, FALLBACK, PromptRecord
from capsynth.wording import words_of

Integers = npt.NDArray[np.int64]

# Sizes at which variants are compared.
SAMPLED_NGRAMS = 1000
SAMPLED_PROMPTS = 100


@dataclass(frozen=True)
class PromptStatistics:
    """Statistics of the prompts of a variant; what there is too little text for is NaN.

    Attributes:
        prompts: Prompts that images are drawn from; all but ``dropped`` and ``class_word_coverage``
            is about them.
        dropped: Prompts that no image is drawn from, as their caption has no class word.
        fallback: Share of the prompts in which the class name stands without its caption.
        fell_back: Share of the prompts that lack what their strategy is named after, for any reason
            of ``fallbacks.REASONS``; this and the following six are NaN without captions.
        fell_back_empty: Share of them whose caption is empty.
        fell_back_not_rewritten: Share whose caption the rewriter left as it was.
        fell_back_no_subject: Share whose caption has no subject before its first word of place.
        fell_back_no_class_word: Share whose caption gives way, as it has no word of the class name.
        caption_repeated: Share whose caption looped; ``on_repeated`` says what was done.
        caption_cut: Share whose caption ended at the limit of tokens; see ``on_cut``.
        words_mean: Mean number of words of a prompt.
        words_median: Median of it.
        words_least: Words of the shortest prompt.
        words_most: Words of the longest prompt.
        vocabulary: Different words.
        distinct_1: Different words over all words (Li et al., NAACL 2016, arXiv 1510.03055).
        distinct_2: The same of pairs of words.
        distinct_3: The same of runs of three words.
        expected_distinct_1: ``distinct_1`` expected of ``SAMPLED_NGRAMS`` of the words: the measure
            HD-D (McCarthy and Jarvis, Behavior Research Methods 42(2), 2010) of a larger sample.
        expected_distinct_2: The same of as many pairs of words.
        expected_distinct_3: The same of as many runs of three words.
        expected_vocabulary: Different words expected in ``SAMPLED_PROMPTS`` of the prompts.
        repeated: Share of the prompts that another one equals word by word.
        self_repetition: Mean over the prompts of log(1 + N), where N adds up, over the different
            runs of four words in a prompt, how many other prompts have it (Salkar et al., AACL
            2022).
        class_word_coverage: Share of the captions behind the prompts, dropped ones too, that have a
            word of the class name; the prompts mostly have it from their template. NaN without
            captions.
    """

    prompts: int
    dropped: int
    fallback: float
    fell_back: float
    fell_back_empty: float
    fell_back_not_rewritten: float
    fell_back_no_subject: float
    fell_back_no_class_word: float
    caption_repeated: float
    caption_cut: float
    words_mean: float
    words_median: float
    words_least: float
    words_most: float
    vocabulary: int
    distinct_1: float
    distinct_2: float
    distinct_3: float
    expected_distinct_1: float
    expected_distinct_2: float
    expected_distinct_3: float
    expected_vocabulary: float
    repeated: float
    self_repetition: float
    class_word_coverage: float


def read_prompts(paths: Iterable[Path]) -> Iterator[PromptRecord]:
    """Yield the prompts of files that ``prompting.write_prompts`` wrote.

    Raises:
        CapsynthError: If a line has unknown or missing fields.
    """
    for path in paths:
        for number, row in enumerate(read_json_lines(path), start=1):
            try:
                yield PromptRecord(**row)
            except TypeError as error:
                raise CapsynthError(f"{path}:{number}: {error}; write the prompts anew") from error


def prompt_statistics(records: Iterable[PromptRecord]) -> PromptStatistics:
    """Return the statistics of prompts, of one class or of many."""
    texts: list[list[str]] = []
    dropped = fallback = captions = named = spoken = 0
    faults: Counter[str | None] = Counter()
    statuses: Counter[str | None] = Counter()
    for record in records:
        if record.source_key is not None:
            captions += 1
            named += record.has_class_word is True
        if record.status == DROPPED or record.prompt is None:
            dropped += 1
            continue
        fallback += record.status == FALLBACK
        spoken += record.source_key is not None
        faults[record.fell_back] += 1
        statuses[record.caption_status] += 1
        texts.append(words_of(record.prompt))
    lengths = np.array([len(text) for text in texts])
    ngrams = _Ngrams(texts)
    counts = [np.bincount(ngrams.of(n)[0]) for n in (1, 2, 3)]
    distinct = [_share(len(count), int(count.sum())) for count in counts]
    expected = [expected_kinds(count, SAMPLED_NGRAMS) / SAMPLED_NGRAMS for count in counts]
    some = len(texts) > 0
    return PromptStatistics(
        prompts=len(texts),
        dropped=dropped,
        fallback=_share(fallback, len(texts)),
        fell_back=_share(sum(faults[reason] for reason in REASONS), spoken),
        fell_back_empty=_share(faults[EMPTY_CAPTION], spoken),
        fell_back_not_rewritten=_share(faults[NOT_REWRITTEN], spoken),
        fell_back_no_subject=_share(faults[NO_SUBJECT], spoken),
        fell_back_no_class_word=_share(faults[NO_CLASS_WORD], spoken),
        caption_repeated=_share(statuses[REPEATED], spoken),
        caption_cut=_share(statuses[CUT], spoken),
        words_mean=float(lengths.mean()) if some else float("nan"),
        words_median=float(np.median(lengths)) if some else float("nan"),
        words_least=float(lengths.min()) if some else float("nan"),
        words_most=float(lengths.max()) if some else float("nan"),
        vocabulary=len(counts[0]),
        distinct_1=distinct[0],
        distinct_2=distinct[1],
        distinct_3=distinct[2],
        expected_distinct_1=expected[0],
        expected_distinct_2=expected[1],
        expected_distinct_3=expected[2],
        expected_vocabulary=expected_kinds(
            np.bincount(ngrams.in_texts(1)[0]), SAMPLED_PROMPTS, of=len(texts)
        ),
        repeated=_repeated(texts),
        self_repetition=_self_repetition(ngrams, len(texts)),
        class_word_coverage=_share(named, captions),
    )


def expected_kinds(counts: Integers, sample: int, of: int | None = None) -> float:
    """Return how many kinds a random sample without replacement has, on average over all samples.

    Args:
        counts: How many things there are of each kind; or in how many things a kind occurs, where a
            thing may have several.
        sample: Things in the sample.
        of: Things in all; None for the sum of the counts.

    Returns:
        The expectation; NaN if there are fewer things than the sample has.
    """
    total = int(counts.sum()) if of is None else of
    if total < sample:
        return float("nan")
    frequency, kinds = np.unique(counts, return_counts=True)
    # A kind is missed if each draw misses it: the product of 1 - f / (things left).
    missing = np.zeros(len(frequency))
    can_miss = total - frequency >= sample
    left = total - np.arange(sample)
    missing[can_miss] = [np.log1p(-f / left).sum() for f in frequency[can_miss]]
    chance = np.where(can_miss, np.exp(missing), 0.0)
    return float((kinds * (1.0 - chance)).sum())


class _Ngrams:
    """The n-grams of texts as numbers, equal ones alike."""

    def __init__(self, texts: Sequence[Sequence[str]]) -> None:
        numbers: dict[str, int] = {}
        words = (numbers.setdefault(word, len(numbers)) for word in chain.from_iterable(texts))
        self._words = np.fromiter(words, dtype=np.int64)
        self._text = np.repeat(np.arange(len(texts)), [len(text) for text in texts])
        self._vocabulary = len(numbers)

    def of(self, n: int) -> tuple[Integers, Integers]:
        """Return the number of each n-gram, from 0, and the text that it stands in."""
        starts = np.arange(max(0, len(self._words) - n + 1))
        starts = starts[self._text[starts] == self._text[starts + n - 1]]
        numbers = self._words[starts]
        for offset in range(1, n):
            longer = numbers * self._vocabulary + self._words[starts + offset]
            _, numbers = np.unique(longer, return_inverse=True)
        return numbers, self._text[starts]

    def in_texts(self, n: int) -> tuple[Integers, Integers]:
        """Return what ``of`` returns, but each n-gram only once for each text."""
        numbers, texts = self.of(n)
        pairs = np.unique(np.stack([texts, numbers]), axis=1)
        return pairs[1], pairs[0]


def _self_repetition(ngrams: _Ngrams, prompts: int) -> float:
    if not prompts:
        return float("nan")
    numbers, texts = ngrams.in_texts(4)
    elsewhere = np.bincount(numbers)[numbers] - 1
    return float(np.log1p(np.bincount(texts, weights=elsewhere, minlength=prompts)).mean())


def _repeated(texts: Sequence[Sequence[str]]) -> float:
    times = Counter(" ".join(text) for text in texts)
    return _share(sum(n for n in times.values() if n > 1), len(texts))


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")

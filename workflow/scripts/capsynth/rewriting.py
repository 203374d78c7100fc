"""Rewriting captions with a causal language model of transformers."""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from capsynth.captions import (
    EMPTY,
    NOT_REWRITTEN,
    OK,
    CaptionPolicy,
    CaptionRecord,
    assess,
    count_statuses,
)
from capsynth.decoding import (
    Decoding,
    Utterance,
    continue_text,
    end_tokens_of,
    filled_up,
    load_model,
)
from capsynth.devices import device
from capsynth.errors import CapsynthError
from capsynth.files import read_json_lines, write_json_lines
from capsynth.fingerprints import file_digest, fingerprint
from capsynth.models import without_places
from capsynth.progress import Progress
from capsynth.resuming import PartialWork
from capsynth.seeding import derive_seed

log = logging.getLogger(__name__)

# Which rewrite of which caption is to be written.
Order = tuple[CaptionRecord, int]
_QUOTES = {'"': '"', "'": "'", "\u201c": "\u201d", "\u2018": "\u2019", "`": "`"}


@dataclass(frozen=True)
class RewriterSettings:
    """How captions are rewritten; the names are those of transformers.

    Attributes:
        model: Folder or hub id of the language model.
        revision: Revision of a model from the hub.
        dtype: ``float32``, ``bfloat16`` or ``float16``.
        batch_size: Captions a forward pass.
        max_new_tokens: Longest rewrite, tokens.
        num_captions: Rewrites of each caption.
        prompt: What the model is asked; ``{caption}`` and ``{class_name}`` are filled in.
        temperature: Softness of sampling.
        top_p: Probability of the tokens that sampling chooses from.
        seed: Seed of sampling.
        min_words: Fewest words of a rewrite that is taken.
        max_words: Most words of a rewrite that is taken.
        ascii_only: Whether letters and signs outside ASCII are refused.
        retries: Further tries where a rewrite is refused.
    """

    model: str
    revision: str | None
    dtype: str
    batch_size: int
    max_new_tokens: int
    num_captions: int
    prompt: str
    temperature: float
    top_p: float
    seed: int
    min_words: int
    max_words: int
    ascii_only: bool
    retries: int


class Rewriter:
    """A causal language model of transformers."""

    def __init__(self, settings: RewriterSettings) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.settings = settings
        self._model = load_model(
            AutoModelForCausalLM, settings.model, settings.revision, settings.dtype
        )
        self._tokenizer = AutoTokenizer.from_pretrained(settings.model, revision=settings.revision)
        # A decoder goes on after the last token of a row: what is filled up is its beginning.
        self._tokenizer.padding_side = "left"
        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token

    def answer(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[Utterance]:
        """Return what the model says to each of at most ``batch_size`` prompts.

        The prompt is the user's turn if the model has a chat template, else text to go on from.
        A short batch is filled up with its last prompt. What is said to a prompt depends on its
        own seed alone.
        """
        size = self.settings.batch_size
        tokens = self._tokens(filled_up(prompts, size))
        settings = self.settings
        said = continue_text(
            self._model,
            self._tokenizer,
            {name: tokens[name].to(device()) for name in ("input_ids", "attention_mask")},
            Decoding(settings.max_new_tokens, 1, settings.temperature, settings.top_p),
            seeds=filled_up(seeds, size),
            prompt_length=tokens["input_ids"].shape[1],
            end_tokens=end_tokens_of(self._model.generation_config),
        )
        return said[: len(prompts)]

    def _tokens(self, prompts: Sequence[str]) -> Any:
        if self._tokenizer.chat_template:
            return self._tokenizer.apply_chat_template(
                [[{"role": "user", "content": prompt}] for prompt in prompts],
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
                padding=True,
            )
        return self._tokenizer(list(prompts), padding=True, return_tensors="pt")


def rewrite_shard(
    settings: RewriterSettings,
    class_name: str,
    captions: Path,
    output: Path,
    model_mark: str,
    code_mark: str | None = None,
) -> None:
    """Rewrite the captions of one class shard, resuming where an earlier start ended.

    Args:
        settings: The rewriter.
        class_name: Name of the class, for the prompt.
        captions: JSON Lines of ``CaptionRecord``.
        output: The same of the rewrites, ``num_captions`` for each caption, in the same order.
        model_mark: Name of the model's weights, part of the fingerprint.
        code_mark: Name of the code; what other code has begun is not resumed.

    Raises:
        CapsynthError: If a row of ``captions`` lacks fields, or the prompt cannot be filled in.
    """
    records = _read_captions(captions)
    orders = [(record, copy) for record in records for copy in range(settings.num_captions)]
    before = sorted({record.fingerprint for record in records})
    mark = fingerprint(without_places(settings), class_name, model_mark, before)
    work = PartialWork([output], fingerprint(mark, file_digest(captions), code_mark))
    rewriter: Rewriter | None = None
    with Progress(f"rewrite {output.stem}", len(orders), "caption") as progress:
        for number, batch in work.unfinished(orders, settings.batch_size, ".jsonl", progress):
            # The model is loaded only if something is left for it to do.
            rewriter = rewriter or Rewriter(settings)
            made = rewrite_batch(rewriter, batch, class_name, mark)
            write_json_lines(work.path(number, ".jsonl"), map(asdict, made))
    work.publish_lines(len(orders), settings.batch_size)
    rows = read_json_lines(output)
    log.info("%s: %d captions: %s", output, len(rows), count_statuses(rows) or "no image")


def _read_captions(path: Path) -> list[CaptionRecord]:
    try:
        return [CaptionRecord(**row) for row in read_json_lines(path)]
    except TypeError as error:
        raise CapsynthError(f"{path}: {error}; delete it and run again") from error


def rewrite_batch(
    rewriter: Rewriter, orders: Sequence[Order], class_name: str, mark: str
) -> list[CaptionRecord]:
    """Return the rewrites of one batch, asking again for those that are refused.

    A caption that is empty is not rewritten; one that no try was taken for stays as it was, with
    the status ``not-rewritten`` and what the last try said under ``raw``.
    """
    settings = rewriter.settings
    done: dict[int, tuple[str, str, str]] = {}  # raw, caption and status by place in the batch
    said: dict[int, str] = {}
    waiting = []
    for place, (record, _) in enumerate(orders):
        if record.caption:
            waiting.append(place)
        else:
            done[place] = ("", "", EMPTY)
    tries = 0
    for attempt in range(1 + settings.retries):
        if not waiting:
            break
        tries += len(waiting)
        prompts, seeds = [], []
        for place in waiting:
            record, copy = orders[place]
            prompts.append(ask(settings.prompt, record.caption, class_name))
            number = record.number * settings.num_captions + copy
            seeds.append(derive_seed("rewrite", settings.seed, record.key, number, attempt))
        for place, utterance in zip(waiting, rewriter.answer(prompts, seeds), strict=True):
            said[place] = utterance.text
            rewrite = judge(utterance, settings)
            if rewrite is not None:
                done[place] = (utterance.text, rewrite, OK)
        waiting = [place for place in waiting if place not in done]
    log.info("%d tries for %d captions, %d not rewritten", tries, len(said), len(waiting))
    for place in waiting:
        done[place] = (said[place], orders[place][0].caption, NOT_REWRITTEN)
    made = []
    for place, (record, copy) in enumerate(orders):
        raw, caption, status = done[place]
        made.append(
            CaptionRecord(
                key=record.key,
                class_id=record.class_id,
                index=record.index,
                number=record.number * settings.num_captions + copy,
                raw=raw,
                caption=caption,
                status=status,
                fingerprint=mark,
            )
        )
    return made


def ask(prompt: str, caption: str, class_name: str) -> str:
    """Fill in a prompt; braces within a caption stay as they are.

    Raises:
        CapsynthError: If the prompt has a placeholder that is not known, or a single brace.
    """
    try:
        return prompt.format(caption=caption, class_name=class_name)
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        raise CapsynthError(
            f"prompt {prompt!r} cannot be filled in ({error!r}); use {{caption}} and {{class_name}}"
        ) from None


def judge(utterance: Utterance, settings: RewriterSettings) -> str | None:
    """Return the rewrite in what a model said, None if it is not fit.

    The rewrite is the first line that holds a letter or digit, without quotation marks around it.
    It is fit if it was ended, by a line break or an end token, does not loop, has ``min_words`` to
    ``max_words`` words and, under ``ascii_only``, is ASCII. The default bounds, more than 5 words
    and fewer than 65, and the restriction to ASCII are those of the released code of arXiv
    2307.08526.
    """
    lines = utterance.text.splitlines() or [""]
    places = [i for i, line in enumerate(lines) if any(sign.isalnum() for sign in line)]
    if not places:
        return None
    line = _without_quotes(lines[places[0]].strip())
    ended = utterance.ended or places[0] < len(lines) - 1
    caption, status = assess(line, ended, CaptionPolicy())
    fits = settings.min_words <= len(caption.split()) <= settings.max_words
    if status != OK or not fits or (settings.ascii_only and not caption.isascii()):
        return None
    return caption


def _without_quotes(line: str) -> str:
    if len(line) > 1 and _QUOTES.get(line[0]) == line[-1]:
        return line[1:-1].strip()
    return line

"""Tokenizers of the embedded models: every word of the embedded world is one token.

Text outside that world is spelled in pieces and bytes; no input is unknown.
"""

import json

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTokenizer, GPT2Tokenizer

from capsynth.datasets.openmoji.world import (
    ALL_SUBTYPES,
    BACKGROUND_PHRASES,
    CLASSES,
)

PROMPT_TOKENS = 24
START, END = "<|startoftext|>", "<|endoftext|>"
CLIP_PATTERN = r"""'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""


def sentences() -> list[str]:
    """Return sentences that hold every word of the world, in a fixed order."""
    return [
        *(f"a photo of a {c.class_id}, a {c.class_id}" for c in CLASSES),
        *(s.phrase for s in ALL_SUBTYPES),
        *BACKGROUND_PHRASES.values(),
    ]


def _train(
    tokenizer: Tokenizer, suffix: str, specials: list[str]
) -> tuple[dict[str, int], list[tuple[str, str]]]:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=10_000,
        min_frequency=1,
        show_progress=False,
        special_tokens=specials,
        initial_alphabet=alphabet,
        end_of_word_suffix=suffix,
    )
    # Twice: a word that occurs once must still end as one token.
    tokenizer.train_from_iterator([*sentences(), *sentences()], trainer)
    model = json.loads(tokenizer.to_str())["model"]
    words = [w for w, _ in sorted(model["vocab"].items(), key=lambda item: item[1])]
    words += [a + suffix for a in alphabet if suffix and a + suffix not in model["vocab"]]
    return {word: index for index, word in enumerate(words)}, [tuple(m) for m in model["merges"]]


def build_prompt_tokenizer() -> CLIPTokenizer:
    """Return the generator's tokenizer."""
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(CLIP_PATTERN), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    vocab, merges = _train(tokenizer, "</w>", [START, END])
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=PROMPT_TOKENS)


def build_caption_tokenizer() -> GPT2Tokenizer:
    """Return the captioner's tokenizer."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    vocab, merges = _train(tokenizer, "", [END])
    return GPT2Tokenizer(
        vocab=vocab,
        merges=merges,
        add_prefix_space=True,
        pad_token=END,
        model_max_length=PROMPT_TOKENS,
    )

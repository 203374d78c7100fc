"""Getting text out of a transformers model: what captioners and rewriters share."""

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from capsynth.devices import device
from capsynth.digests import require_as_taken
from capsynth.errors import CapsynthError
from capsynth.models import unread_weights
from capsynth.weights import from_pretrained

if TYPE_CHECKING:  # torch is imported where it is used: jobs check their settings before that
    from torch import Tensor

# Weights that no text depends on: of poolers, whose output decoders do not read, and of the token
# that stands for what pretraining hides. Published models lack the one or the other.
UNUSED = r"(^|\.)(pooler\.|mask_token$)"


@dataclass(frozen=True)
class Decoding:
    """How tokens are chosen; the names are those of transformers.

    Attributes:
        max_new_tokens: Longest text, in tokens.
        num_beams: Beams of the search; 1 is greedy, and needed for sampling.
        temperature: Softness of the distribution that is sampled from; None does not sample.
        top_p: Sampling takes the likeliest tokens that together have this probability.
    """

    max_new_tokens: int
    num_beams: int = 1
    temperature: float | None = None
    top_p: float = 1.0

    def __post_init__(self) -> None:
        """Check that the keys go together.

        Raises:
            CapsynthError: If a beam search is to sample.
        """
        if self.temperature is not None and self.num_beams > 1:
            raise CapsynthError(
                f"temperature: sampling is not combined with num_beams {self.num_beams}; "
                "use num_beams 1, or remove temperature"
            )


@dataclass(frozen=True)
class Utterance:
    """What a model said.

    Attributes:
        text: The text without prompt and special tokens.
        ended: Whether the model ended it; False where ``max_new_tokens`` did.
    """

    text: str
    ended: bool


class RowSampler:
    """A logits processor that samples every row of a batch from random numbers of its own.

    One number a row and token is drawn, on the CPU, from the row's own seed, and looked up in the
    cumulated distribution over the vocabulary (inverse transform sampling). All other tokens are
    ruled out, so greedy decoding takes the one that was drawn: what a row says is an exact sample
    that depends on its seed, not on the rows beside it, on other draws, or on the device.
    """

    def __init__(self, seeds: Sequence[int], temperature: float, top_p: float) -> None:
        self._draws = [random.Random(seed) for seed in seeds]
        self._temperature = temperature
        self._top_p = top_p

    def __call__(self, input_ids: "Tensor", scores: "Tensor") -> "Tensor":
        """Rule out all tokens but one a row.

        Args:
            input_ids: (rows, length), not looked at.
            scores: (rows, vocabulary), logits.

        Returns:
            (rows, vocabulary): 0 for the token that was drawn, minus infinity for all others.
        """
        import torch

        # In double precision, in the order of the vocabulary: rounding that differs between batch
        # sizes moves the bounds between tokens by too little to change what is drawn.
        odds = (scores.double() / self._temperature).softmax(dim=-1)
        if self._top_p < 1:
            odds = nucleus(odds, self._top_p)
        bounds = odds.cumsum(dim=-1)
        drawn = torch.tensor([[draw.random()] for draw in self._draws], dtype=torch.float64)
        # Scaled by the sum, which is not exactly 1; the draw itself is below 1. Bounds that are
        # passed are counted, so tokens of no probability, whose bound is the one before, are not
        # taken.
        place = drawn.to(bounds.device) * bounds[:, -1:]
        token = torch.searchsorted(bounds, place, right=True)
        # Should rounding put the place on the last bound, the last possible token is meant.
        last = (odds > 0).cumsum(dim=-1).argmax(dim=-1, keepdim=True)
        token = torch.minimum(token, last)
        return torch.full_like(scores, float("-inf")).scatter(-1, token, 0.0)


def nucleus(odds: "Tensor", top_p: float) -> "Tensor":
    """Return ``odds`` (rows, vocabulary) with all but the nucleus set to 0.

    The nucleus is the smallest set of the likeliest tokens whose probabilities add up to at least
    ``top_p`` (arXiv 1904.09751, section 3.1).
    """
    import torch

    ordered, order = odds.sort(dim=-1, descending=True, stable=True)
    before = ordered.cumsum(dim=-1) - ordered
    return torch.zeros_like(odds).scatter(-1, order, ordered.where(before < top_p, 0.0))


def continue_text(
    model: Any,
    tokenizer: Any,
    inputs: Mapping[str, "Tensor"],
    decoding: Decoding,
    *,
    seeds: Sequence[int],
    prompt_length: int,
    end_tokens: Collection[int],
) -> list[Utterance]:
    """Let ``model`` speak and return what it said, one utterance a row.

    Args:
        model: A model with transformers' ``generate``.
        tokenizer: Its tokenizer.
        inputs: What ``generate`` takes, on the model's device.
        decoding: How tokens are chosen.
        seeds: One a row, for sampling.
        prompt_length: How many tokens at the head of each row are not the model's own.
        end_tokens: Tokens that end a text.
    """
    said = continue_tokens(model, inputs, decoding, seeds=seeds, prompt_length=prompt_length)
    return utterances(tokenizer, said, end_tokens)


def continue_tokens(
    model: Any,
    inputs: Mapping[str, "Tensor"],
    decoding: Decoding,
    *,
    seeds: Sequence[int],
    prompt_length: int,
) -> list[list[int]]:
    """Let ``model`` speak and return the tokens that it said, as ``continue_text``."""
    import torch

    sampling: dict[str, Any] = {}
    if decoding.temperature is not None:
        sampler = RowSampler(seeds, decoding.temperature, decoding.top_p)
        sampling = {"logits_processor": [sampler]}
    with torch.inference_mode():
        tokens = model.generate(
            **inputs,
            max_new_tokens=decoding.max_new_tokens,
            num_beams=decoding.num_beams,
            do_sample=False,
            **sampling,
        )
    rows: list[list[int]] = tokens[:, prompt_length:].tolist()
    return rows


def utterances(
    tokenizer: Any, said: Sequence[list[int]], end_tokens: Collection[int]
) -> list[Utterance]:
    """Return rows of tokens as text."""
    texts = tokenizer.batch_decode(said, skip_special_tokens=True)
    ended = [not set(end_tokens).isdisjoint(row) for row in said]
    return [Utterance(text, end) for text, end in zip(texts, ended, strict=True)]


def end_tokens_of(generation_config: Any) -> set[int]:
    """Return the tokens that end a text, of which a model may have none, one or several."""
    ends = generation_config.eos_token_id
    return {ends} if isinstance(ends, int) else set(ends or ())


def filled_up(items: Sequence[Any], size: int) -> list[Any]:
    """Return ``items`` with the last one repeated up to ``size``.

    Every batch then has the same shape, so what is said of an item does not depend on how many
    others are left.
    """
    return [*items, *[items[-1]] * (size - len(items))]


def load_model(
    kind: Any, model: str, revision: str | None, dtype: str, unused: str = UNUSED
) -> Any:
    """Load a model's weights onto the device that models run on.

    Args:
        kind: The class of transformers that loads it.
        model: Folder or hub id.
        revision: Revision of a model from the hub.
        dtype: Name of a torch number format.
        unused: Pattern of the names of weights that may be missing: what is asked of the model does
            not depend on them.

    Raises:
        CapsynthError: If a folder has no weights as safetensors, or they do not fit the model.
    """
    import torch

    require_safetensors(model)
    try:
        loaded = from_pretrained(
            kind, model, model, unused, revision=revision, dtype=getattr(torch, dtype)
        )
    except OSError as error:
        raise unread_weights(model, error) from error
    require_as_taken()
    return loaded.to(device()).eval()


def require_safetensors(model: str) -> None:
    """Raise CapsynthError if ``model`` is a folder that has no weights as safetensors."""
    folder = Path(model)
    if folder.is_dir() and not any(folder.glob("*.safetensors")):
        raise unread_weights(model, "it holds no *.safetensors")

"""Image-to-text models of transformers, by family.

A family is a small subclass of ``Captioner`` and its entry in ``FAMILIES``: how its models are
loaded, how images and a prompt become its inputs, and which tokens of its output are its own words.
Which family a model belongs to is read off its own ``config.json``.
"""

import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from PIL import Image

from capsynth.decoding import (
    Decoding,
    Utterance,
    continue_tokens,
    end_tokens_of,
    filled_up,
    load_model,
    utterances,
)
from capsynth.errors import CapsynthError
from capsynth.names import check_name

CHAT_PROMPT = "Describe the image in one sentence."


@dataclass(frozen=True)
class CaptionerSettings:
    """How images are captioned; the names are those of transformers.

    Attributes:
        model: Folder or hub id of the model.
        revision: Revision of a model from the hub.
        family: Name in ``FAMILIES``, None to read it off the model.
        dtype: ``float32``, ``bfloat16`` or ``float16``.
        batch_size: Captions a forward pass.
        prompt: Text that the model is prompted with, None for the family's own or none.
        max_new_tokens: Longest caption, tokens.
        num_beams: Beams of the beam search; 1 is greedy.
        num_captions: Captions an image; more than one are sampled.
        temperature: Softness of sampling, None for no sampling.
        top_p: Probability of the tokens that sampling chooses from, None for all.
        seed: Seed of sampling, None without sampling.
        on_repeated: What is done about loops: see ``captions.CaptionPolicy``.
        on_cut: What is done about captions that were cut.
    """

    model: str
    revision: str | None
    family: str | None
    dtype: str
    batch_size: int
    prompt: str | None
    max_new_tokens: int
    num_beams: int
    num_captions: int
    temperature: float | None
    top_p: float | None
    seed: int | None
    on_repeated: str
    on_cut: str

    def __post_init__(self) -> None:
        """Check that the keys go together.

        Raises:
            CapsynthError: If several captions are asked for without sampling.
        """
        if self.num_captions > 1 and self.temperature is None:
            raise CapsynthError(
                f"num_captions: {self.num_captions} captions of one image would all be the same; "
                "set temperature, for example 1.0"
            )

    @property
    def decoding(self) -> Decoding:
        """How tokens are chosen."""
        top_p = 1.0 if self.top_p is None else self.top_p
        return Decoding(self.max_new_tokens, self.num_beams, self.temperature, top_p)


class Captioner:
    """An image-to-text model of transformers; subclasses say what is special about a family.

    Attributes:
        model_types: Values of ``model_type`` in ``config.json`` that belong to the family.
        model_class: Name of the class of transformers that loads the model.
        takes_prompt: Whether the family can be prompted.
        default_prompt: The prompt where the settings have none; None for no prompt at all.
    """

    model_types: ClassVar[Collection[str]] = ()
    model_class: ClassVar[str]
    takes_prompt: ClassVar[bool] = True
    default_prompt: ClassVar[str | None] = None

    def __init__(self, settings: CaptionerSettings) -> None:
        import transformers

        self.settings = settings
        # Tokenizers are not made for several threads.
        self._at_tokenizer = threading.Lock()
        self.prompt = self.prompt_of(settings)
        kind = getattr(transformers, self.model_class)
        self.model = load_model(kind, settings.model, settings.revision, settings.dtype)
        self.load_processor(transformers)

    @classmethod
    def prompt_of(cls, settings: CaptionerSettings) -> str | None:
        """Return the prompt that ``settings`` mean.

        Raises:
            CapsynthError: If there is one and the family takes none.
        """
        if settings.prompt is not None and not cls.takes_prompt:
            takers = [name for name, family in FAMILIES.items() if family.takes_prompt]
            raise CapsynthError(
                f"prompt: {settings.model} takes none, being of the family {name_of(cls)}; "
                f"remove it, or use a model of {', '.join(takers)}"
            )
        return cls.default_prompt if settings.prompt is None else settings.prompt

    def load_processor(self, transformers: Any) -> None:
        """Set ``processor``, which prepares images, and ``tokenizer``."""
        where = {"revision": self.settings.revision}
        self.processor = transformers.AutoProcessor.from_pretrained(self.settings.model, **where)
        self.tokenizer = self.processor.tokenizer
        # A decoder goes on after the last token of a row: what is filled up is its beginning.
        self.tokenizer.padding_side = "left"

    def inputs(self, images: Sequence[Image.Image]) -> Mapping[str, Any]:
        """Return what the model's ``generate`` takes for ``images``."""
        text = {} if self.prompt is None else {"text": [self.prompt] * len(images)}
        return self.processor(images=list(images), **text, return_tensors="pt")

    def prompt_length(self, inputs: Mapping[str, Any]) -> int:
        """Return how many tokens at the head of the output are not the model's own words."""
        return inputs["input_ids"].shape[1]

    def end_tokens(self) -> set[int]:
        """Return the tokens that end a caption."""
        return end_tokens_of(self.model.generation_config)

    def caption(
        self, images: Sequence[Image.Image], seeds: Sequence[int] | None = None
    ) -> list[Utterance]:
        """Return one utterance an image.

        Args:
            images: At most ``batch_size`` images, RGB.
            seeds: One an image, for sampling; what is said of an image depends on its own alone.
        """
        seeds = [0] * len(images) if seeds is None else seeds
        return self.in_words(self.speak(self.prepare(images), seeds))

    # The three parts of ``caption``: of different batches they may run in threads at once.

    def prepare(self, images: Sequence[Image.Image]) -> Mapping[str, Any]:
        """Return the model's inputs for a batch.

        A short batch is filled up with its last image: every batch has the same shape, so an
        image's caption does not depend on how many others are left.
        """
        with self._at_tokenizer:
            return self.inputs(filled_up(images, self.settings.batch_size))

    def speak(self, inputs: Mapping[str, Any], seeds: Sequence[int]) -> list[list[int]]:
        """Return the tokens that the model says of prepared images, one row a seed."""
        rows = continue_tokens(
            self.model,
            {name: self._placed(tensor) for name, tensor in inputs.items()},
            self.settings.decoding,
            seeds=filled_up(seeds, self.settings.batch_size),
            prompt_length=self.prompt_length(inputs),
        )
        return rows[: len(seeds)]

    def in_words(self, rows: Sequence[list[int]]) -> list[Utterance]:
        """Return rows of tokens as text."""
        with self._at_tokenizer:
            return utterances(self.tokenizer, rows, self.end_tokens())

    def _placed(self, value: Any) -> Any:
        """Move a tensor to the model; images take its number format, tokens keep theirs."""
        import torch

        if not isinstance(value, torch.Tensor):
            return value
        dtype = self.model.dtype if value.is_floating_point() else value.dtype
        return value.to(self.model.device, dtype)


class EncoderDecoder(Captioner):
    """Any vision encoder with any text decoder, such as ViT-GPT2."""

    model_types = ("vision-encoder-decoder",)
    model_class = "VisionEncoderDecoderModel"
    takes_prompt = False

    def load_processor(self, transformers: Any) -> None:
        """Load image processor and tokenizer by themselves: many such models have no processor."""
        model, where = self.settings.model, {"revision": self.settings.revision}
        self.processor = transformers.AutoImageProcessor.from_pretrained(model, **where)
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(model, **where)

    def inputs(self, images: Sequence[Image.Image]) -> Mapping[str, Any]:
        """Return the images' pixels."""
        pixels = self.processor(images=list(images), return_tensors="pt").pixel_values
        return {"pixel_values": pixels}

    def prompt_length(self, inputs: Mapping[str, Any]) -> int:
        """Return 1, for the token that starts every decoder."""
        return 1


class Blip(Captioner):
    """BLIP; a prompt is the beginning of the caption, as in ``a photograph of``."""

    model_types = ("blip",)
    model_class = "BlipForConditionalGeneration"

    def prompt_length(self, inputs: Mapping[str, Any]) -> int:
        """Return the tokens of the prompt; ``generate`` drops its end token, and needs one."""
        return max(1, inputs["input_ids"].shape[1] - 1) if "input_ids" in inputs else 1

    def end_tokens(self) -> set[int]:
        """Return the separator, which BLIP's ``generate`` ends at."""
        return {self.model.config.text_config.sep_token_id}


class Blip2(Captioner):
    """BLIP-2 with a decoder (OPT) or an encoder and decoder (Flan-T5) behind its queries."""

    model_types = ("blip-2",)
    model_class = "Blip2ForConditionalGeneration"

    def load_processor(self, transformers: Any) -> None:
        """Load the processor; older ones do not know how many tokens the image takes."""
        super().load_processor(transformers)
        self.processor.num_query_tokens = self.model.config.num_query_tokens

    def inputs(self, images: Sequence[Image.Image]) -> Mapping[str, Any]:
        """Return pixels, and tokens if there is a prompt.

        Raises:
            CapsynthError: If the tokens have no place for the image, which would be left out.
        """
        inputs = super().inputs(images)
        if "input_ids" in inputs:
            config = self.model.config
            places = (inputs["input_ids"] == config.image_token_id).sum(dim=1)
            if (places != config.num_query_tokens).any():
                raise CapsynthError(
                    f"model {self.settings.model}: its tokenizer and its config.json do not agree "
                    "on the image's token, so a prompt would displace the image; remove prompt"
                )
        return inputs

    def prompt_length(self, inputs: Mapping[str, Any]) -> int:
        """Return the tokens of queries and prompt, or 1 where a decoder of its own answers."""
        if self.model.config.text_config.is_encoder_decoder:
            return 1
        # Without a prompt, generate puts one token a query and a start token there itself.
        own = self.model.config.num_query_tokens + 1
        return inputs["input_ids"].shape[1] if "input_ids" in inputs else own

    def end_tokens(self) -> set[int]:
        """Return the language model's: the whole has no say in when it ends."""
        return end_tokens_of(self.model.language_model.generation_config)


class Git(Captioner):
    """GIT; a prompt is the beginning of the text, a question for models that answer them."""

    model_types = ("git",)
    model_class = "GitForCausalLM"

    def inputs(self, images: Sequence[Image.Image]) -> Mapping[str, Any]:
        """Return pixels, and the prompt after the start token without an end token."""
        import torch

        pixels = self.processor(images=list(images), return_tensors="pt").pixel_values
        words = self.tokenizer(self.prompt or "", add_special_tokens=False).input_ids
        # The start token is the class token; models of this family are trained on BERT's.
        row = torch.tensor([self.tokenizer.cls_token_id, *words])
        tokens = row.expand(len(images), -1)
        return {
            "pixel_values": pixels,
            "input_ids": tokens,
            "attention_mask": torch.ones_like(tokens),
        }


class Chat(Captioner):
    """Chat-style vision-language models with a chat template: SmolVLM, Qwen-VL, LLaVA, ..."""

    model_class = "AutoModelForImageTextToText"
    default_prompt = CHAT_PROMPT

    def load_processor(self, transformers: Any) -> None:
        """Load the processor.

        Raises:
            CapsynthError: If it has no chat template.
        """
        super().load_processor(transformers)
        if not self.processor.chat_template:
            raise CapsynthError(
                f"model {self.settings.model} has no chat template, so how it is to be asked is "
                f"not known; use a model that has one, or {HOW_TO_ADD}"
            )

    def inputs(self, images: Sequence[Image.Image]) -> Mapping[str, Any]:
        """Return one conversation an image: the image, then the prompt."""
        conversations = [
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "image", "image": image},
                        {"type": "text", "text": self.prompt},
                    ],
                }
            ]
            for image in images
        ]
        return self.processor.apply_chat_template(
            conversations,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True},
        )


FAMILIES: dict[str, type[Captioner]] = {
    "encoder-decoder": EncoderDecoder,
    "blip": Blip,
    "blip-2": Blip2,
    "git": Git,
    # What transformers counts as image-and-text-to-text and no other family claims.
    "chat": Chat,
}
HOW_TO_ADD = (
    "add a family to FAMILIES in workflow/scripts/capsynth/captioners.py "
    "(docs/captioners.md shows how)"
)


def name_of(family: type[Captioner]) -> str:
    """Return the name of a family."""
    return next(name for name, known in FAMILIES.items() if known is family)


def find_family(model: str, revision: str | None, family: str | None) -> type[Captioner]:
    """Return the family that a model belongs to, or the one that is named.

    Raises:
        CapsynthError: If the name is not known, the model has no ``config.json``, or its
            ``model_type`` belongs to no family.
    """
    if family is not None:
        return FAMILIES[check_name("captioner family", family, FAMILIES)]
    from transformers import PreTrainedConfig
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as CHAT_TYPES,
    )

    try:
        config, _ = PreTrainedConfig.get_config_dict(model, revision=revision)
    except OSError as error:
        raise CapsynthError(f"model {model}: its config.json cannot be read: {error}") from None
    if not config:
        raise CapsynthError(
            f"model {model} has no config.json; give a folder that save_pretrained of transformers "
            "has written, or the id of a model on the hub"
        )
    model_type = config.get("model_type")
    for known in FAMILIES.values():
        if model_type in known.model_types:
            return known
    if model_type in CHAT_TYPES:
        return Chat
    raise CapsynthError(
        f"model {model} is a {model_type!r} (model_type of its config.json), which belongs to no "
        f"family of captioners; known: {', '.join(FAMILIES)}; use another model, name one of them "
        f"under `family`, or {HOW_TO_ADD}"
    )


def load_captioner(settings: CaptionerSettings) -> Captioner:
    """Load the model that ``settings`` name.

    Raises:
        CapsynthError: If its family is not known, or takes no prompt and is given one.
    """
    return find_family(settings.model, settings.revision, settings.family)(settings)

"""Text-to-image pipelines of diffusers, any family driven in the same way.

What a pipeline can do is read off its call signature and its components, not off a table of names:
a family that diffusers adds later works as soon as its pipeline takes a prompt and gives images.
"""

import inspect
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from capsynth.devices import device
from capsynth.digests import require_as_taken
from capsynth.errors import CapsynthError
from capsynth.fingerprints import file_digest
from capsynth.models import unread_weights
from capsynth.samplers import build_scheduler, own_scheduler, require_steps
from capsynth.weights import from_pretrained

log = logging.getLogger(__name__)

OFF = "off"
# What every call is given, and what it is given if the configuration sets it.
ALWAYS = ("num_inference_steps", "guidance_scale", "height", "width")
IF_SET = ("negative_prompt", "true_cfg_scale", "max_sequence_length")
# Some families rewrite the prompt with an optional package, or draw at another size and rescale:
# what is drawn is what the configuration says, on every machine.
LITERAL = {"clean_caption": False, "use_resolution_binning": False}
# Tokenizers without a limit of their own have a huge number in its place.
NO_LIMIT = 1_000_000


@dataclass(frozen=True)
class GeneratorSettings:
    """How images are drawn; the names are those of diffusers.

    Attributes:
        model: Folder or hub id of the pipeline.
        revision: Revision of a model from the hub.
        dtype: ``float32``, ``bfloat16`` or ``float16``.
        num_inference_steps: Denoising steps.
        guidance_scale: Scale of classifier-free guidance, 1 for none; of distilled guidance in
            families that have it.
        true_cfg_scale: Scale of classifier-free guidance in families whose ``guidance_scale`` is
            distilled; None for the pipeline's own.
        negative_prompt: What guidance moves away from, None or empty for the empty prompt.
        height: Height of the images, pixels.
        width: Width of the images, pixels.
        batch_size: Images drawn at once. Part of the fingerprint: on some hardware the last bits
            of an image depend on it.
        scheduler: Class of the sampler, None for the model's own.
        scheduler_args: Arguments of the sampler that differ from the model's.
        max_sequence_length: Longest prompt of a T5-like text encoder, tokens; None for the
            pipeline's own.
        lora: LoRA weights: mappings with ``path``, ``weight_name`` and ``scale``.
        attention_slicing: Whether attention is computed in slices: slower, less memory.
        vae_slicing: Whether images are decoded one by one: less memory.
        compile: ``off`` or a mode of ``torch.compile``.
        safety_checker: ``off``, ``flag``, ``retry`` or ``drop``.
        safety_retries: Most times that an image is redrawn.
        overlong_prompts: ``truncate`` or ``error``.
    """

    model: str
    revision: str | None
    dtype: str
    num_inference_steps: int
    guidance_scale: float
    true_cfg_scale: float | None
    negative_prompt: str | None
    height: int
    width: int
    batch_size: int
    scheduler: str | None
    scheduler_args: Mapping[str, Any]
    max_sequence_length: int | None
    lora: tuple[Mapping[str, Any], ...]
    attention_slicing: bool
    vae_slicing: bool
    compile: str
    safety_checker: str
    safety_retries: int
    overlong_prompts: str


# ---- what a pipeline is and takes ---------------------------------------------------------------


def pipeline_class(index: Mapping[str, Any], model: str) -> Any:
    """Return the text-to-image pipeline that a ``model_index.json`` asks for.

    A pipeline of another task, image-to-image for example, gives the text-to-image pipeline of its
    family where diffusers has one.

    Raises:
        CapsynthError: If diffusers has no such pipeline, or it takes no prompt.
    """
    import diffusers
    from diffusers.pipelines.auto_pipeline import (
        AUTO_IMAGE2IMAGE_PIPELINES_MAPPING,
        AUTO_INPAINT_PIPELINES_MAPPING,
        AUTO_TEXT2IMAGE_PIPELINES_MAPPING,
    )

    name = str(index.get("_class_name"))
    for mapping in (
        AUTO_TEXT2IMAGE_PIPELINES_MAPPING,
        AUTO_IMAGE2IMAGE_PIPELINES_MAPPING,
        AUTO_INPAINT_PIPELINES_MAPPING,
    ):
        for family, kind in mapping.items():
            if kind.__name__ == name and family in AUTO_TEXT2IMAGE_PIPELINES_MAPPING:
                return AUTO_TEXT2IMAGE_PIPELINES_MAPPING[family]
    other = getattr(diffusers, name, None)
    if not (inspect.isclass(other) and issubclass(other, diffusers.DiffusionPipeline)):
        raise CapsynthError(
            f"model {model!r} is a {name}, which diffusers {diffusers.__version__} does not have; "
            "pipelines that bring code of their own are not run"
        )
    if "prompt" not in inspect.signature(other.__call__).parameters:
        raise CapsynthError(f"model {model!r} is a {name}, which draws nothing from a prompt")
    return other


def call_arguments(
    settings: GeneratorSettings, family: str, takes: Mapping[str, inspect.Parameter]
) -> dict[str, Any]:
    """Return the arguments of every call of a pipeline, prompt and noise left out.

    Args:
        settings: The generator.
        family: Name of the pipeline's class.
        takes: Parameters of its call.

    Raises:
        CapsynthError: If the family does not take a key that is set, or ignores it.
    """
    given = {name: getattr(settings, name) for name in ALWAYS}
    for name in IF_SET:
        # The empty negative prompt is left to the pipeline: some families have a better one.
        if (value := getattr(settings, name)) not in (None, ""):
            given[name] = value
    for name in ("prompt", "generator", *given):
        if name not in takes:
            remedy = "remove it from the generator" if name in IF_SET else "use another pipeline"
            raise CapsynthError(f"{name}: {family} does not take it; {remedy}")
    for name, parameter in list(takes.items())[1:]:  # without self
        needed = parameter.default is parameter.empty and parameter.kind != parameter.VAR_KEYWORD
        if needed and name not in ("prompt", "generator", *given):
            raise CapsynthError(f"{family} needs {name}, which no key gives; use another pipeline")
    if "true_cfg_scale" in takes:
        scale = given.get("true_cfg_scale", takes["true_cfg_scale"].default)
        if "negative_prompt" in given and not scale > 1:
            raise CapsynthError(
                f"negative_prompt: {family} ignores it without true_cfg_scale; "
                "set true_cfg_scale above 1, or remove negative_prompt"
            )
        if "true_cfg_scale" in given:
            given.setdefault("negative_prompt", "")  # without one the scale would be ignored
    elif "negative_prompt" in given and settings.guidance_scale <= 1:
        log.warning("negative_prompt has no effect: guidance_scale 1 or less means no guidance")
    return given | {name: value for name, value in LITERAL.items() if name in takes}


def component_arguments(
    settings: GeneratorSettings, family: str, index: Mapping[str, Any], parts: Iterable[str]
) -> dict[str, Any]:
    """Return the arguments that load a pipeline with the safety checker, or without.

    Args:
        settings: The generator.
        family: Name of the pipeline's class.
        index: Its ``model_index.json``.
        parts: Parameters of the class.

    Raises:
        CapsynthError: If the policy needs a safety checker that the model has not.
    """
    if settings.safety_checker == OFF:
        off = {"safety_checker": None, "requires_safety_checker": False}
        return {name: value for name, value in off.items() if name in parts}
    for name in ("safety_checker", "feature_extractor"):
        if None in (index.get(name) or [None]):
            raise CapsynthError(
                f"safety_checker: {settings.safety_checker!r} needs a {name}, and the {family} in "
                f'{settings.model!r} has none; write safety_checker: "off", or add the {name} '
                "to the pipeline's folder"
            )
    return {}


def load_parts(
    model: str, index: Mapping[str, Any], names: Iterable[str], dtype: Any
) -> dict[str, Any]:
    """Return the models that a pipeline consists of, their weights checked, by name.

    What the pipeline loads as well as this would is left to it: all but models, and models of
    classes that neither transformers nor diffusers has.

    Args:
        model: Folder of the pipeline.
        index: Its ``model_index.json``.
        names: Parts that are wanted.
        dtype: Number format of the weights.

    Raises:
        CapsynthError: If weights of a part are missing, or do not fit it.
        OSError: If a part has none.
    """
    from torch.nn import Module

    loaded = {}
    for name in names:
        kind, folder = _part_class(index.get(name)), Path(model) / name
        if inspect.isclass(kind) and issubclass(kind, Module) and folder.is_dir():
            loaded[name] = from_pretrained(kind, folder, f"{model}, {name}", dtype=dtype)
    return loaded


def _part_class(entry: Any) -> Any:
    """Return the class that a line of a ``model_index.json`` names, None if it is not known."""
    import diffusers
    import transformers

    if not isinstance(entry, list) or len(entry) != 2 or None in entry:
        return None
    library, name = entry
    homes = {"diffusers": diffusers, "transformers": transformers}
    return getattr(homes.get(library) or getattr(diffusers.pipelines, library, None), name, None)


def lora_file(path: str, weight_name: str | None) -> Path:
    """Return the file of LoRA weights that ``path``, a file or a folder, means.

    Raises:
        CapsynthError: If there is none, several without ``weight_name``, or it is not safetensors.
    """
    place = Path(path)
    if not place.exists():
        raise CapsynthError(f"lora: {place} does not exist; give a file, or a folder that holds it")
    if place.is_dir():
        names = sorted(file.name for file in place.glob("*.safetensors"))
        if weight_name is None and len(names) != 1:
            listed = ", ".join(names) or "no safetensors file"
            raise CapsynthError(f"lora: {path} holds {listed}; name one file with weight_name")
        place = place / (weight_name or names[0])
        if not place.is_file():
            raise CapsynthError(f"lora: {place} does not exist; {path} holds {', '.join(names)}")
    elif weight_name is not None and place.name != weight_name:
        raise CapsynthError(f"lora: {path} is not a folder that holds {weight_name!r}")
    if place.suffix != ".safetensors":
        raise CapsynthError(f"lora: {place} is not a safetensors file; convert it")
    return place


def lora_digests(settings: GeneratorSettings) -> list[str]:
    """Return the digests of the LoRA weights: what tells them from others of the same name."""
    return [file_digest(lora_file(lora["path"], lora["weight_name"])) for lora in settings.lora]


def token_limits(pipeline: Any, max_sequence_length: int | None) -> dict[str, int]:
    """Return the number of tokens at which each of a pipeline's tokenizers cuts a prompt.

    A text encoder with a fixed number of positions (CLIP) is cut there; others (T5) at
    ``max_sequence_length``, where the pipeline takes it.

    Args:
        pipeline: The pipeline.
        max_sequence_length: The value of its calls, None if they take none.
    """
    limits = {}
    for name, tokenizer in pipeline.components.items():
        encoder = pipeline.components.get(name.replace("tokenizer", "text_encoder"))
        if "tokenizer" not in name or tokenizer is None or encoder is None:
            continue
        limit = tokenizer.model_max_length
        positions = getattr(encoder.config, "max_position_embeddings", None)
        if max_sequence_length is not None and positions != limit:
            limit = max_sequence_length
        if limit < NO_LIMIT:
            limits[name] = int(limit)
    return limits


def is_blank(image: Image.Image) -> bool:
    """Return whether all pixels of an image are alike: black, most often."""
    pixels = np.asarray(image).reshape(image.width * image.height, -1)
    return bool((pixels == pixels[0]).all())


# ---- the pipeline itself ------------------------------------------------------------------------


class DiffusersGenerator:
    """A text-to-image pipeline of diffusers."""

    def __init__(self, settings: GeneratorSettings) -> None:
        """Load the pipeline.

        Raises:
            CapsynthError: If the model, or something that the settings ask of it, does not exist.
        """
        import torch
        from diffusers import DiffusionPipeline

        # Cut prompts and blacked images are counted here; the pipelines' own warnings say less.
        logging.getLogger("diffusers.pipelines").setLevel(logging.ERROR)
        self._torch = torch
        self.settings = settings
        try:
            index = DiffusionPipeline.load_config(settings.model, revision=settings.revision)
        except OSError as error:
            raise CapsynthError(
                f"model {settings.model!r} is not a diffusers pipeline that can be read: {error}"
            ) from error
        kind = pipeline_class(index, settings.model)
        self.family = kind.__name__
        # All that can be refused without the weights is refused before they are read.
        takes = inspect.signature(kind.__call__).parameters
        self._arguments = call_arguments(settings, self.family, takes)
        parts = inspect.signature(kind.__init__).parameters
        components = component_arguments(settings, self.family, index, parts)
        self._loras = [lora_file(lora["path"], lora["weight_name"]) for lora in settings.lora]
        if self._loras and not hasattr(kind, "load_lora_weights"):
            raise CapsynthError(f"lora: {self.family} does not take LoRA weights; remove them")
        self._require_sampler(own_scheduler(settings.model, index), kind)
        dtype = getattr(torch, settings.dtype)
        try:
            wanted = [name for name in parts if name not in components]
            components |= load_parts(settings.model, index, wanted, dtype)
            self._pipeline: Any = kind.from_pretrained(
                settings.model,
                revision=settings.revision,
                dtype=dtype,
                use_safetensors=True,
                **components,
            )
        except OSError as error:
            raise unread_weights(settings.model, error) from error
        except ValueError as error:
            # Diffusers' word for a part that comes with code of its own, which is not run.
            raise CapsynthError(f"model {settings.model} cannot be loaded: {error}") from error
        self._checker, self._extractor = self._take_checker()
        # Pipelines mend the configuration of a sampler as they are made.
        own = getattr(self._pipeline, "scheduler", None)
        self._pipeline.scheduler = self._require_sampler(own, kind)
        if self._loras:
            self._add_loras()
        require_as_taken()
        self._pipeline.to(device())
        self._pipeline.set_progress_bar_config(disable=True)
        self._save_memory()
        self._denoiser_name = "unet" if hasattr(self._pipeline, "unet") else "transformer"
        denoiser = getattr(self._pipeline, self._denoiser_name, None)
        if denoiser is not None and denoiser.config.get("guidance_embeds") is False:
            log.info("guidance_scale has no effect: this model was distilled without it")
        if settings.compile != OFF:
            self._compile()
        longest = settings.max_sequence_length
        if longest is None and "max_sequence_length" in takes:
            longest = takes["max_sequence_length"].default
        self.token_limits = token_limits(self._pipeline, longest)

    def _require_sampler(self, own: Any, kind: Any) -> Any:
        """Return the sampler that the settings ask for; raise if it cannot do what they ask."""
        settings = self.settings
        if own is None:
            return None
        if settings.scheduler is not None or settings.scheduler_args:
            own = build_scheduler(own, settings.scheduler, settings.scheduler_args)
        require_steps(own, settings.num_inference_steps, kind)
        return own

    def _take_checker(self) -> tuple[Any, Any]:
        """Take the safety checker out of the pipeline, which would black the images it flags."""
        if self.settings.safety_checker == OFF:
            return None, None
        checker, extractor = self._pipeline.safety_checker, self._pipeline.feature_extractor
        self._pipeline.safety_checker = None
        checker.to(device()).eval()
        return checker, extractor

    def _add_loras(self) -> None:
        """Load the LoRA weights and merge them: drawing then costs what it costs without."""
        names = [f"lora{number}" for number in range(len(self._loras))]
        for name, file in zip(names, self._loras, strict=True):
            try:
                self._pipeline.load_lora_weights(
                    str(file.parent), weight_name=file.name, adapter_name=name, use_safetensors=True
                )
            except (KeyError, RuntimeError, ValueError) as error:
                raise CapsynthError(f"lora: {file} does not fit {self.family}: {error}") from error
            if not any(name in loaded for loaded in self._pipeline.get_list_adapters().values()):
                raise CapsynthError(f"lora: {file} holds no weights for {self.family}")
        scales = [float(lora["scale"]) for lora in self.settings.lora]
        self._pipeline.set_adapters(names, scales)
        self._pipeline.fuse_lora(adapter_names=names)
        self._pipeline.unload_lora_weights()

    def _save_memory(self) -> None:
        parts = [part for part in self._pipeline.components.values() if part is not None]
        if self.settings.attention_slicing:
            if not any(hasattr(part, "set_attention_slice") for part in parts):
                raise CapsynthError(f"attention_slicing: {self.family} does not take it; remove it")
            self._pipeline.enable_attention_slicing()
        if self.settings.vae_slicing:
            vae = getattr(self._pipeline, "vae", None)
            if not hasattr(vae, "enable_slicing"):
                raise CapsynthError(f"vae_slicing: {self.family} does not take it; remove it")
            self._pipeline.vae.enable_slicing()

    def _compile(self) -> None:
        """Compile the denoiser and the decoder; batches are filled up, so shapes never change."""
        torch, pipeline = self._torch, self._pipeline
        denoiser, vae = (getattr(pipeline, n, None) for n in (self._denoiser_name, "vae"))
        if denoiser is None or vae is None:
            raise CapsynthError(
                f'compile: {self.family} is not a unet or transformer and a vae; write "off"'
            )
        mode = self.settings.compile
        for module in (denoiser, vae):
            module.to(memory_format=torch.channels_last)
        # Decoding in slices branches on the batch, which one graph cannot hold.
        whole = not self.settings.vae_slicing
        setattr(pipeline, self._denoiser_name, torch.compile(denoiser, mode=mode, fullgraph=True))
        vae.decode = torch.compile(vae.decode, mode=mode, fullgraph=whole)

    def tokens_over(self, prompts: Sequence[str]) -> list[int]:
        """Return how many tokens of each prompt are cut off: the most of any tokenizer."""
        over = [0] * len(prompts)
        for name, limit in self.token_limits.items():
            tokenizer = self._pipeline.components[name]
            rows = tokenizer(list(prompts), truncation=False, verbose=False)["input_ids"]
            over = [max(cut, len(row) - limit) for cut, row in zip(over, rows, strict=True)]
        return over

    def draw(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[Image.Image]:
        """Draw one image a prompt, each from the noise of its own seed.

        The noise comes from a generator on the CPU, one an image, so it is the same in every
        batch and on every machine. A short batch is filled up with its last prompt: every batch
        has the same shape. An image that is not finite comes back black.

        Raises:
            CapsynthError: If the pipeline draws no images, or at another size than it is asked for.
        """
        torch = self._torch
        n, size = len(prompts), self.settings.batch_size
        prompts = [*prompts, *[prompts[-1]] * (size - n)]
        seeds = [*seeds, *[seeds[-1]] * (size - n)]
        arguments = dict(self._arguments)
        if "negative_prompt" in arguments:
            arguments["negative_prompt"] = [arguments["negative_prompt"]] * size
        devices = [torch.cuda.current_device()] if device() == "cuda" else []
        with torch.inference_mode(), torch.random.fork_rng(devices):
            # A few samplers draw noise from the global generator: fix that too.
            torch.manual_seed(seeds[0])
            output = self._pipeline(
                prompt=list(prompts),
                generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
                output_type="np",
                **arguments,
            )
        pixels = getattr(output, "images", None)
        if pixels is None:
            raise CapsynthError(f"{self.family} draws something else than images; use another one")
        images = [_to_image(np.asarray(image)) for image in pixels[:n]]
        wanted = (self.settings.width, self.settings.height)
        if images[0].size != wanted:
            got = " x ".join(map(str, images[0].size[::-1]))
            raise CapsynthError(
                f"height, width: {self.family} draws {got} pixels when asked for "
                f"{wanted[1]} x {wanted[0]}; use multiples of 16 or 32"
            )
        return images

    def flagged(self, images: Sequence[Image.Image]) -> list[bool]:
        """Return which images the model's safety checker flags; the images stay as they are."""
        torch = self._torch
        pixels = self._extractor(list(images), return_tensors="pt").pixel_values
        with torch.inference_mode():
            verdict = self._checker(
                clip_input=pixels.to(self._checker.device, self._checker.dtype),
                images=[np.zeros(1) for _ in images],  # what the checker blacks
            )
        return [bool(flag) for flag in verdict[1]]


def _to_image(pixels: npt.NDArray[np.floating]) -> Image.Image:
    """Return pixels (h, w, 3) in [0, 1] as an image, rounded as diffusers does.

    An image that is not finite is black.
    """
    if not np.isfinite(pixels).all():
        log.warning("an image is not finite: in half precision, try dtype bfloat16 or float32")
        pixels = np.zeros_like(pixels)
    return Image.fromarray((pixels * 255).round().astype(np.uint8))

"""Drawing images from prompts with a text-to-image pipeline of diffusers."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from capsynth.files import read_json_lines
from capsynth.fingerprints import file_digest, fingerprint
from capsynth.progress import Progress
from capsynth.resuming import PartialWork, batches
from capsynth.shards import (
    OK,
    Sample,
    ShardReader,
    ShardRecord,
    encode_image,
    read_manifest,
    write_shard,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class GeneratorSettings:
    """How images are drawn; the names are those of diffusers.

    Attributes:
        model: Folder or hub id of the pipeline.
        revision: Revision of a model from the hub.
        dtype: ``float32``, ``bfloat16`` or ``float16``.
        num_inference_steps: Denoising steps.
        guidance_scale: Scale of classifier-free guidance; 1 for none.
        negative_prompt: What guidance moves away from, None for the empty prompt.
        height: Height of the images, pixels.
        width: Width of the images, pixels.
        batch_size: Images drawn at once. Part of the fingerprint: on some hardware the last bits
            of an image depend on it.
    """

    model: str
    revision: str | None
    dtype: str
    num_inference_steps: int
    guidance_scale: float
    negative_prompt: str | None
    height: int
    width: int
    batch_size: int


class DiffusersGenerator:
    """A text-to-image pipeline of diffusers."""

    def __init__(self, settings: GeneratorSettings) -> None:
        import torch
        from diffusers import AutoPipelineForText2Image

        self._torch = torch
        self.settings = settings
        self._pipeline = AutoPipelineForText2Image.from_pretrained(
            settings.model,
            revision=settings.revision,
            dtype=getattr(torch, settings.dtype),
            use_safetensors=True,
        )
        self._pipeline.to("cuda" if torch.cuda.is_available() else "cpu")
        self._pipeline.set_progress_bar_config(disable=True)

    def draw(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[Image.Image]:
        """Draw one image a prompt, each from the noise of its own seed.

        The noise comes from a generator on the CPU, one an image, so it is the same in every
        batch and on every machine. A short batch is filled up with its last prompt: every batch
        has the same shape.
        """
        n, size = len(prompts), self.settings.batch_size
        prompts = [*prompts, *[prompts[-1]] * (size - n)]
        seeds = [*seeds, *[seeds[-1]] * (size - n)]
        generators = [self._torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        negative: dict[str, Any] = {}
        if self.settings.negative_prompt is not None:
            negative["negative_prompt"] = [self.settings.negative_prompt] * size
        with self._torch.inference_mode():
            images = self._pipeline(
                prompt=list(prompts),
                generator=generators,
                num_inference_steps=self.settings.num_inference_steps,
                guidance_scale=self.settings.guidance_scale,
                height=self.settings.height,
                width=self.settings.width,
                output_type="pil",
                **negative,
            ).images
        return list(images[:n])


def generate_shard(
    settings: GeneratorSettings,
    prompts: Path,
    extension: str,
    tar: Path,
    manifest: Path,
    model_mark: str,
) -> None:
    """Draw the images of one prompt file, resuming where an earlier start ended.

    Args:
        settings: The generator.
        prompts: JSON Lines of ``prompting.PromptRecord``; its order fixes the batches.
        extension: ``png`` or ``jpg``.
        tar: The synthetic shard.
        manifest: Its manifest.
        model_mark: Name of the model's weights, part of the fingerprint.
    """
    rows = read_json_lines(prompts)
    prompt_mark = sorted({row["fingerprint"] for row in rows})
    mark = fingerprint(asdict(settings), extension, model_mark, prompt_mark)
    work = PartialWork(tar, fingerprint(mark, file_digest(prompts)))
    generator: DiffusersGenerator | None = None
    parts: list[tuple[Path, Path]] = []
    with Progress(f"generate {tar.stem}", len(rows), "image") as progress:
        for number, batch in batches(rows, settings.batch_size):
            part = (work.path(number, ".tar"), work.path(number, ".jsonl"))
            parts.append(part)
            if part[1].exists():  # written after the tar
                progress.skip(len(batch))
                continue
            # The model is loaded only if something is left for it to do.
            generator = generator or DiffusersGenerator(settings)
            images = generator.draw([r["prompt"] for r in batch], [r["seed"] for r in batch])
            write_shard(*part, _samples(batch, images, extension, mark))
            progress.advance(len(batch))
    write_shard(tar, manifest, _joined(parts))
    work.clear()


def _samples(
    rows: Sequence[dict[str, Any]], images: Sequence[Image.Image], extension: str, mark: str
) -> Iterator[Sample]:
    for row, image in zip(rows, images, strict=True):
        record = ShardRecord(
            key=row["key"],
            class_id=row["class_id"],
            class_index=row["class_index"],
            index=row["index"],
            status=OK,
            fingerprint=mark,
            extension=extension,
            source_key=row["source_key"],
            prompt=row["prompt"],
            seed=row["seed"],
        )
        yield Sample(record, encode_image(image, extension))


def _joined(parts: Sequence[tuple[Path, Path]]) -> Iterator[Sample]:
    for tar, manifest in parts:
        with ShardReader(tar) as reader:
            for record in read_manifest(manifest):
                yield Sample(record, reader.read_bytes(record))

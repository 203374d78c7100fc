"""Captioning real images with an image-to-text model of transformers."""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from capsynth.files import read_json_lines, write_json_lines
from capsynth.fingerprints import file_digest, fingerprint
from capsynth.progress import Progress
from capsynth.resuming import PartialWork, batches
from capsynth.shards import OK, ShardReader, ShardRecord, read_manifest, usable

log = logging.getLogger(__name__)

EMPTY = "empty"


@dataclass(frozen=True)
class CaptionerSettings:
    """How images are captioned; the names are those of transformers.

    Attributes:
        model: Folder or hub id of the model.
        revision: Revision of a model from the hub.
        dtype: ``float32``, ``bfloat16`` or ``float16``.
        batch_size: Images a forward pass.
        max_new_tokens: Longest caption, tokens.
        num_beams: Beams of the beam search; 1 is greedy.
    """

    model: str
    revision: str | None
    dtype: str
    batch_size: int
    max_new_tokens: int
    num_beams: int


@dataclass(frozen=True)
class CaptionRecord:
    """One caption.

    Attributes:
        key: Key of the real image.
        class_id: Its class.
        index: Its position within the class.
        caption: The text, spaces normalised.
        status: ``ok``, or ``empty`` where the model said nothing.
        fingerprint: Fingerprint of the captioner's settings.
    """

    key: str
    class_id: str
    index: int
    caption: str
    status: str
    fingerprint: str


class TransformersCaptioner:
    """An image-to-text model of transformers with an encoder and a decoder."""

    def __init__(self, settings: CaptionerSettings) -> None:
        import torch
        from transformers import AutoImageProcessor, AutoTokenizer, VisionEncoderDecoderModel

        self._torch = torch
        self.settings = settings
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        where: dict[str, Any] = {"revision": settings.revision}
        self._model = VisionEncoderDecoderModel.from_pretrained(
            settings.model, dtype=getattr(torch, settings.dtype), use_safetensors=True, **where
        )
        self._model.to(self._device).eval()
        self._processor = AutoImageProcessor.from_pretrained(settings.model, **where)
        self._tokenizer = AutoTokenizer.from_pretrained(settings.model, **where)

    def caption(self, images: Sequence[Image.Image]) -> list[str]:
        """Return one caption an image.

        A short batch is filled up with its last image: every batch has the same shape, so an
        image's caption does not depend on how many others are left.
        """
        n = len(images)
        padded = [*images, *[images[-1]] * (self.settings.batch_size - n)]
        pixels = self._processor(images=padded, return_tensors="pt").pixel_values
        with self._torch.inference_mode():
            tokens = self._model.generate(
                pixels.to(self._device, self._model.dtype),
                max_new_tokens=self.settings.max_new_tokens,
                num_beams=self.settings.num_beams,
                do_sample=False,
            )
        texts = self._tokenizer.batch_decode(tokens[:n], skip_special_tokens=True)
        return [" ".join(text.split()) for text in texts]


def caption_shard(
    settings: CaptionerSettings, tar: Path, manifest: Path, output: Path, model_mark: str
) -> None:
    """Caption the usable images of a real shard, resuming where an earlier start ended.

    Args:
        settings: The captioner.
        tar: The real shard.
        manifest: Its manifest.
        output: JSON Lines of ``CaptionRecord``, in the manifest's order.
        model_mark: Name of the model's weights, part of the fingerprint.
    """
    records = usable(read_manifest(manifest))
    mark = fingerprint(asdict(settings), model_mark)
    work = PartialWork(output, fingerprint(mark, file_digest(manifest)))
    captioner: TransformersCaptioner | None = None
    parts = []
    with (
        ShardReader(tar) as reader,
        Progress(f"caption {output.stem}", len(records), "image") as progress,
    ):
        for number, batch in batches(records, settings.batch_size):
            path = work.path(number, ".jsonl")
            parts.append(path)
            if path.exists():
                progress.skip(len(batch))
                continue
            # The model is loaded only if something is left for it to do.
            captioner = captioner or TransformersCaptioner(settings)
            texts = captioner.caption([reader.read_image(record) for record in batch])
            write_json_lines(path, map(asdict, _records(batch, texts, mark)))
            progress.advance(len(batch))
    rows = [row for path in parts for row in read_json_lines(path)]
    empty = sum(row["status"] == EMPTY for row in rows)
    if empty:
        log.warning("%s: %d of %d captions are empty", output, empty, len(rows))
    write_json_lines(output, rows)
    work.clear()


def _records(batch: Sequence[ShardRecord], texts: list[str], mark: str) -> list[CaptionRecord]:
    return [
        CaptionRecord(r.key, r.class_id, r.index, text, OK if text else EMPTY, mark)
        for r, text in zip(batch, texts, strict=True)
    ]

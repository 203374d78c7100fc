"""Captioning real images with an image-to-text model of transformers."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from capsynth.captioners import Captioner, CaptionerSettings, load_captioner
from capsynth.captions import CaptionPolicy, CaptionRecord, assess, count_statuses
from capsynth.decoding import Utterance
from capsynth.files import read_json_lines, write_json_lines
from capsynth.fingerprints import file_digest, fingerprint
from capsynth.models import without_places
from capsynth.progress import Progress
from capsynth.resuming import PartialWork
from capsynth.seeding import derive_seed
from capsynth.shards import ShardReader, ShardRecord, read_manifest, usable

log = logging.getLogger(__name__)

# Which caption of which image is to be written.
Order = tuple[ShardRecord, int]


def caption_shard(
    settings: CaptionerSettings,
    tar: Path,
    manifest: Path,
    output: Path,
    model_mark: str,
    code_mark: str | None = None,
) -> None:
    """Caption the usable images of a real shard, resuming where an earlier start ended.

    Args:
        settings: The captioner.
        tar: The real shard.
        manifest: Its manifest.
        output: JSON Lines of ``CaptionRecord``, in the manifest's order, the captions of an image
            together.
        model_mark: Name of the model's weights, part of the fingerprint.
        code_mark: Name of the code; what other code has begun is not resumed.
    """
    records = usable(read_manifest(manifest))
    orders = [(record, number) for record in records for number in range(settings.num_captions)]
    mark = fingerprint(without_places(settings), model_mark)
    work = PartialWork([output], fingerprint(mark, file_digest(manifest), code_mark))
    captioner: Captioner | None = None

    def prepare(batch: Sequence[Order]) -> Mapping[str, Any]:
        nonlocal captioner
        # The model is loaded only if something is left for it to do.
        captioner = captioner or load_captioner(settings)
        images = {record.key: reader.read_image(record) for record, _ in batch}
        return captioner.prepare([images[record.key] for record, _ in batch])

    def caption(batch: Sequence[Order], inputs: Mapping[str, Any]) -> list[list[int]]:
        assert captioner is not None  # prepare has loaded it
        return captioner.speak(inputs, [caption_seed(settings.seed, r.key, n) for r, n in batch])

    def write(number: int, batch: Sequence[Order], rows: list[list[int]]) -> None:
        assert captioner is not None
        made = _records(settings, batch, captioner.in_words(rows), mark)
        write_json_lines(work.path(number, ".jsonl"), map(vars, made))

    with (
        ShardReader(tar) as reader,
        Progress(f"caption {output.stem}", len(orders), "caption") as progress,
    ):
        work.make_all(
            orders,
            settings.batch_size,
            ".jsonl",
            progress,
            prepare=prepare,
            make=caption,
            write=write,
        )
    work.publish_lines(len(orders), settings.batch_size)
    rows = read_json_lines(output)
    log.info("%s: %d captions: %s", output, len(rows), count_statuses(rows) or "no image")


def caption_seed(seed: int | None, key: str, number: int) -> int:
    """Return the seed of caption ``number`` of image ``key``, whatever batch or shard it is in."""
    return derive_seed("caption", seed or 0, key, number)


def _records(
    settings: CaptionerSettings, orders: Sequence[Order], said: Sequence[Utterance], mark: str
) -> list[CaptionRecord]:
    policy = CaptionPolicy(settings.on_repeated, settings.on_cut)
    made = []
    for (record, number), utterance in zip(orders, said, strict=True):
        caption, status = assess(utterance.text, utterance.ended, policy)
        made.append(
            CaptionRecord(
                key=record.key,
                class_id=record.class_id,
                index=record.index,
                number=number,
                raw=utterance.text,
                caption=caption,
                status=status,
                fingerprint=mark,
            )
        )
    return made

"""Packing real images into class shards and evaluation sets."""

import io
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from capsynth.corruptions import corrupt
from capsynth.datasets.folder import SourceFile, list_images, write_index
from capsynth.errors import CapsynthError
from capsynth.fingerprints import fingerprint
from capsynth.progress import Progress
from capsynth.seeding import derive_seed
from capsynth.shards import (
    OK,
    REJECTED,
    Sample,
    ShardRecord,
    encode_image,
    part_of,
    write_shard,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImageFormat:
    """How images are stored.

    Attributes:
        side: Shorter side in pixels that larger images are reduced to, None to keep them.
        extension: ``png`` or ``jpg`` for images that have to be encoded anew; an image that is
            already RGB PNG or JPEG and small enough keeps its bytes.
    """

    side: int | None
    extension: str


def _stored_bytes(data: bytes, image_format: ImageFormat) -> tuple[bytes, str]:
    """Return an image's bytes as they are stored, and their extension."""
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        extension = {"PNG": "png", "JPEG": "jpg"}.get(image.format or "")
        small = image_format.side is None or min(image.size) <= image_format.side
        if extension and image.mode == "RGB" and small:
            return data, extension
        rgb = image.convert("RGB")
    if not small and image_format.side is not None:
        scale = image_format.side / min(rgb.size)
        size = (round(rgb.width * scale), round(rgb.height * scale))
        rgb = rgb.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    return encode_image(rgb, image_format.extension), image_format.extension


def read_samples(
    folder: Path,
    files: Iterable[tuple[int, SourceFile]],
    class_id: str,
    class_index: int,
    image_format: ImageFormat,
    mark: str,
) -> Iterator[Sample]:
    """Yield a sample for every file; one that cannot be read is a rejected sample with a reason.

    Args:
        folder: The class folder.
        files: Files with their positions within the class.
        class_id: The class.
        class_index: Its position in the list of classes.
        image_format: How images are stored.
        mark: Fingerprint of the configuration.
    """
    for index, file in files:
        key = Path(file.name).stem
        try:
            image, extension = _stored_bytes((folder / file.name).read_bytes(), image_format)
        except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
            reason = f"{file.name}: {type(error).__name__}: {error}"
            log.warning("set aside %s", reason)
            record = ShardRecord(key, class_id, class_index, index, REJECTED, mark, reason=reason)
            yield Sample(record, None)
        else:
            record = ShardRecord(key, class_id, class_index, index, OK, mark, extension=extension)
            yield Sample(record, image)


def pack_class_shard(
    folder: Path,
    class_id: str,
    class_index: int,
    part: int,
    parts_per_class: int,
    image_format: ImageFormat,
    token: str,
    tar: Path,
    manifest: Path,
    index: Path,
) -> None:
    """Pack the images of one part of a class.

    An image's ``index`` is its rank by name within the whole class, so it does not depend on how
    the class is divided.

    Args:
        folder: The class folder.
        class_id: The class.
        class_index: Its position in the list of classes.
        part: The part to pack.
        parts_per_class: Parts the class is divided into.
        image_format: How images are stored.
        token: Source token of the folder, recorded in ``index``.
        tar: The shard.
        manifest: Its manifest.
        index: Index of the source files, see ``datasets.folder``.
    """
    files = list_images(folder)
    mine = [
        (rank, file)
        for rank, file in enumerate(files)
        if part_of(Path(file.name).stem, parts_per_class) == part
    ]
    mark = fingerprint({"side": image_format.side, "extension": image_format.extension})
    samples = read_samples(folder, mine, class_id, class_index, image_format, mark)
    with Progress(f"pack {class_id}-{part}", len(mine), "image") as progress:
        count = write_shard(tar, manifest, _counted(samples, progress))
    log.info("packed %d of %d images of class %s", count, len(files), class_id)
    write_index(index, {class_id: folder}, token)


def pack_evaluation_set(
    root: Path,
    class_ids: Sequence[str],
    image_format: ImageFormat,
    corruptions: Sequence[tuple[str, int]],
    token: str,
    tar: Path,
    manifest: Path,
    index: Path,
) -> None:
    """Pack an evaluation set: all classes in one shard.

    With ``corruptions`` (name and severity) each image is stored once for each of them, under the
    key ``{key}.{name}-{severity}``, and not in its clean form.

    Raises:
        CapsynthError: If an image cannot be read: an evaluation set has no holes.
    """
    mark = fingerprint(
        {
            "side": image_format.side,
            "extension": image_format.extension,
            "classes": list(class_ids),
            "corruptions": [list(c) for c in corruptions],
        }
    )

    def samples() -> Iterator[Sample]:
        for class_index, class_id in enumerate(class_ids):
            folder = root / class_id
            files = list(enumerate(list_images(folder)))
            for sample in read_samples(folder, files, class_id, class_index, image_format, mark):
                if sample.image is None:
                    raise CapsynthError(
                        f"cannot read {folder}: {sample.record.reason}; mend or remove the image"
                    )
                yield from _corrupted(sample, corruptions) if corruptions else (sample,)

    total = sum(len(list_images(root / class_id)) for class_id in class_ids)
    with Progress(f"pack {tar.stem}", total * max(1, len(corruptions)), "image") as progress:
        write_shard(tar, manifest, _counted(samples(), progress))
    write_index(index, {class_id: root / class_id for class_id in class_ids}, token)


def _corrupted(sample: Sample, corruptions: Sequence[tuple[str, int]]) -> Iterator[Sample]:
    record = sample.record
    assert sample.image is not None
    with Image.open(io.BytesIO(sample.image)) as opened:
        clean = opened.convert("RGB")
    for name, severity in corruptions:
        rng = np.random.default_rng(derive_seed("corruption", name, severity, record.key))
        image = encode_image(corrupt(clean, name, severity, rng), "png")
        yield Sample(
            ShardRecord(
                f"{record.key}.{name}-{severity}",
                record.class_id,
                record.class_index,
                record.index,
                OK,
                record.fingerprint,
                extension="png",
                source_key=record.key,
            ),
            image,
        )


def _counted(samples: Iterable[Sample], progress: Progress) -> Iterator[Sample]:
    for sample in samples:
        yield sample
        progress.advance(1)

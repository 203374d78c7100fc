"""Packing real images into class shards and evaluation sets."""

import functools
import io
import logging
import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from capsynth.corruptions import CorruptionSettings, corrupt_by
from capsynth.datasets.folder import (
    EXTENSIONS,
    FolderReads,
    file_states,
    left_out,
    write_files_index,
)
from capsynth.datasets.layouts import (
    CLASS_FOLDERS,
    CORRUPTION_FOLDERS,
    UNKNOWN_LAYOUT,
    ClassFolder,
    ClassMap,
    class_folders,
    unknown_folders,
)
from capsynth.datasets.rows import SourceRow, SourceSettings, read_rows
from capsynth.datasets.selection import ALL, Selection, select
from capsynth.datasets.sources import CACHE, source_of, write_class_index
from capsynth.errors import CapsynthError
from capsynth.files import write_json
from capsynth.fingerprints import fingerprint
from capsynth.names import shown
from capsynth.progress import Progress
from capsynth.sample_keys import KEY_BYTES, EvalKeys, short_key, with_digest
from capsynth.seeding import derive_seed
from capsynth.set_aside import check_classes, check_taken, not_all_rejected, with_few_rejected
from capsynth.shards import (
    OK,
    REJECTED,
    Sample,
    ShardRecord,
    encode_image,
    part_of,
    write_shard,
)
from capsynth.source_images import ImageFormat, stored_bytes

log = logging.getLogger(__name__)

# Images handed to each process that corrupts, beyond the one it works on.
WAITING = 2


@dataclass(frozen=True)
class SourceImage:
    """An image that is to be packed.

    Attributes:
        key: Its key in the shard.
        name: What it is called in messages.
        class_id: Its class.
        class_index: Position of the class in the list of classes.
        index: Position of the image within its class.
        read: Returns its bytes.
        suffix: ``.{corruption}-{severity}`` of an image that is stored corrupted, else empty.
    """

    key: str
    name: str
    class_id: str
    class_index: int
    index: int
    read: Callable[[], bytes]
    suffix: str = ""


def read_samples(
    images: Iterable[SourceImage], image_format: ImageFormat, mark: str
) -> Iterator[Sample]:
    """Yield a sample for every image; one that cannot be used is a rejected sample with a reason.

    Args:
        images: What to pack.
        image_format: How images are stored.
        mark: Fingerprint of the configuration.

    Raises:
        CapsynthError: If the system cannot read an image now, which says nothing of the image.
    """
    for image in images:
        place = (image.key + image.suffix, image.class_id, image.class_index, image.index)
        source_key = image.key if image.suffix else None
        try:
            data, extension = stored_bytes(image.read(), image_format)
        except ValueError as error:
            reason = f"{image.name}: {error}"
            log.warning("set aside %s", reason)
            yield Sample(ShardRecord(*place, REJECTED, mark, reason=reason), None)
        else:
            record = ShardRecord(*place, OK, mark, extension=extension, source_key=source_key)
            yield Sample(record, data)


def _stem(name: str) -> str:
    return Path(name).stem


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
    selection: Selection = ALL,
    max_rejected: float = 1.0,
) -> None:
    """Pack the images of one part of a class that lie in a folder.

    An image's ``index`` is its rank by name within the whole class, so it does not depend on how
    the class is divided, nor on what is taken of it.

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
        selection: What is taken of the class.
        max_rejected: Share of the images, rounded up to whole ones, that may be set aside; below 1
            not all of a class.

    Raises:
        CapsynthError: If more are set aside, or nothing is taken of the class.
    """
    images, keys, reads = [], dict[str, str](), FolderReads()
    files = reads.list(class_id, folder)
    _tell_left_out(folder)
    for rank, file in enumerate(files):
        key = short_key(_stem(file.name), KEY_BYTES)
        read: Callable[[], bytes] = functools.partial(reads.read, class_id, folder, file.name)
        if keys.setdefault(key, file.name) != file.name:
            read = functools.partial(_refuse, f"the name of {keys[key]!r} but for the extension")
            key = with_digest(key.encode(), file.name, KEY_BYTES)
        images.append(SourceImage(key, shown(file.name), class_id, class_index, rank, read))
    shard = (class_id, part, parts_per_class)
    _pack_part(images, shard, image_format, selection, max_rejected, tar, manifest)
    reads.write_index(index, token)


def pack_indexed_shard(
    settings: SourceSettings,
    rows: Path,
    class_id: str,
    class_index: int,
    part: int,
    parts_per_class: int,
    image_format: ImageFormat,
    token: str,
    tar: Path,
    manifest: Path,
    index: Path,
    selection: Selection = ALL,
    max_rejected: float = 1.0,
) -> None:
    """Pack the images of one part of a class of a source that was indexed.

    Args:
        settings: The source.
        rows: The index of the class, beside what the scan left (``datasets.sources``).
        class_id: As for ``pack_class_shard``, like the rest.
        class_index: As there.
        part: As there.
        parts_per_class: As there.
        image_format: As there.
        token: As there.
        tar: As there.
        manifest: As there.
        index: What was packed, see ``datasets.sources``.
        selection: As there.
        max_rejected: As there.

    Raises:
        CapsynthError: As there.
    """
    read = source_of(settings).open_images(settings, rows.parent / CACHE)
    images = [
        SourceImage(
            short_key(row.key, KEY_BYTES),
            shown(row.key),
            class_id,
            class_index,
            rank,
            functools.partial(read, row),
        )
        for rank, row in enumerate(read_rows(rows))
    ]
    shard = (class_id, part, parts_per_class)
    _pack_part(images, shard, image_format, selection, max_rejected, tar, manifest)
    write_class_index(index, class_id, token, rows.parent)


def _tell_left_out(folder: Path) -> None:
    if left := left_out(folder):
        log.warning(
            "not read in class folder %s: %s; images lie in the folder itself and end in %s",
            *(folder, left, ", ".join(sorted(EXTENSIONS))),
        )


def _refuse(reason: str) -> bytes:
    raise ValueError(reason)


def _pack_part(
    images: Sequence[SourceImage],
    shard: tuple[str, int, int],
    image_format: ImageFormat,
    selection: Selection,
    max_rejected: float,
    tar: Path,
    manifest: Path,
) -> None:
    class_id, part, parts_per_class = shard
    taken = select(images, class_id, selection, lambda image: _key_of_choice(image.name))
    check_taken(class_id, len(taken), len(images), selection)
    mine = [image for image in taken if part_of(image.key, parts_per_class) == part]
    mark = fingerprint({"side": image_format.side, "extension": image_format.extension})
    with Progress(f"pack {class_id}-{part}", len(mine), "image") as progress:
        samples = read_samples(mine, image_format, mark)
        allowed = math.ceil(round(max_rejected * len(mine), 6))
        samples = with_few_rejected(samples, len(mine), allowed, f"{class_id}-{part}")
        if max_rejected < 1:
            others = (
                _is_usable(image, image_format)
                for image in taken
                if part_of(image.key, parts_per_class) != part
            )
            samples = not_all_rejected(samples, class_id, len(taken), others)
        count = write_shard(tar, manifest, _counted(samples, progress))
    log.info("packed %d of %d images of class %s", count, len(images), class_id)


def _is_usable(image: SourceImage, image_format: ImageFormat) -> bool:
    try:
        stored_bytes(image.read(), image_format)
    except ValueError:
        return False
    return True


def _key_of_choice(name: str) -> str:
    """Return what decides whether an image is taken: its name in the source without extension."""
    stem, extension = os.path.splitext(name)
    return stem if extension.lower() in EXTENSIONS else name


@dataclass(frozen=True)
class EvalSource:
    """Where the images of an evaluation set lie.

    Attributes:
        roots: Folders; several make one set together.
        layout: How their folders are arranged, see ``datasets.layouts``.
        class_map: Classes of each folder whose name is no class identifier; None otherwise.
        corruptions: Corruptions and severities that are taken of folders that are stored corrupted.
    """

    roots: tuple[Path, ...]
    layout: str = CLASS_FOLDERS
    class_map: ClassMap | None = None
    corruptions: tuple[tuple[str, int], ...] = ()

    def folders(self, class_ids: Sequence[str]) -> list[ClassFolder]:
        """Return the class folders of the set; of images of no class their folders."""
        if self.layout == UNKNOWN_LAYOUT:
            return unknown_folders(self.roots)
        return class_folders(self.roots, self.layout, class_ids, self.class_map, self.corruptions)


def eval_images(
    folders: Sequence[ClassFolder],
    class_ids: Sequence[str],
    selection: Selection,
    reads: FolderReads,
) -> Iterator[SourceImage]:
    """Yield the images of an evaluation set's folders, in their order.

    An image's ``index`` is its rank within its folder.

    Args:
        folders: The folders.
        class_ids: The classes of the data set.
        selection: What is taken of each folder.
        reads: Notes what is listed and read.
    """
    places = {class_id: place for place, class_id in enumerate(class_ids)}
    keys = EvalKeys()
    for folder in folders:
        # What is stored corrupted has the keys of the clean images. Keys are given to all images,
        # not to those taken: they do not depend on what is taken.
        place = folder.class_id if folder.corruption else folder.label
        files = [
            (rank, file, keys.key(folder.class_id, place, _stem(file.name), folder.prefix))
            for rank, file in enumerate(reads.list(folder.label, folder.path))
        ]
        _tell_left_out(folder.path)
        for rank, file, key in select(
            files, folder.class_id, selection, lambda one: shown(_stem(one[1].name))
        ):
            yield SourceImage(
                key,
                shown(f"{folder.path}/{file.name}"),
                folder.class_id,
                places[folder.class_id],
                rank,
                functools.partial(reads.read, folder.label, folder.path, file.name),
                f".{folder.corruption}" if folder.corruption else "",
            )


def indexed_eval_images(
    settings: SourceSettings,
    kept_class_ids: Sequence[str],
    class_ids: Sequence[str],
    selection: Selection,
    cache: Path,
) -> Iterator[SourceImage]:
    """Yield the images of an evaluation set that lies in few large files, by class and key."""
    source = source_of(settings)
    # Numbers of labels count in the classes of the data set, of which the set may have a part.
    rows, _ = source.scan(_with_label_classes(settings, class_ids), kept_class_ids, cache)
    read = source.open_images(settings, cache)
    places = {class_id: place for place, class_id in enumerate(class_ids)}
    keys = EvalKeys()
    for class_id in kept_class_ids:
        numbered: list[tuple[int, SourceRow, str]] = [
            (rank, row, keys.key(class_id, "", row.key)) for rank, row in enumerate(rows[class_id])
        ]
        for rank, row, key in select(numbered, class_id, selection, lambda one: one[1].key):
            yield SourceImage(
                key,
                row.key,
                class_id,
                places[class_id],
                rank,
                functools.partial(read, row),
            )


def _with_label_classes(settings: SourceSettings, class_ids: Sequence[str]) -> SourceSettings:
    if settings.label_classes is not None:
        return settings
    return SourceSettings(**{**vars(settings), "label_classes": tuple(class_ids)})


def pack_evaluation_set(
    source: EvalSource | SourceSettings,
    class_ids: Sequence[str],
    image_format: ImageFormat,
    token: str,
    tar: Path,
    manifest: Path,
    index: Path,
    kept_class_ids: Sequence[str] | None = None,
    selection: Selection = ALL,
    corruption: CorruptionSettings | None = None,
    workers: int = 1,
) -> None:
    """Pack an evaluation set: all classes in one shard.

    With ``corruption`` each image is stored once for each kind and severity, under the key
    ``{key}.{name}-{severity}``, as PNG, and not in its clean form. The bytes do not depend on the
    number of workers. Images that are stored corrupted keep their pixels, whatever the format, and
    those that are cut before they are corrupted are not reduced before that.

    Args:
        source: Folders, or a source of few large files.
        class_ids: The classes of the data set, which samples are numbered by.
        image_format: How images are stored.
        token: Source token of the folders or files, recorded in ``index``.
        tar: The shard.
        manifest: Its manifest.
        index: Index of the source files, see ``datasets.folder``.
        kept_class_ids: The classes of the set, all by default.
        selection: What is taken of each class.
        corruption: How images are corrupted, None for clean images.
        workers: Processes that corrupt images.

    Raises:
        CapsynthError: If an image cannot be read, or a class has none: an evaluation set has no
            holes.
    """
    kept = list(class_ids if kept_class_ids is None else kept_class_ids)
    is_stored = isinstance(source, EvalSource) and source.layout == CORRUPTION_FOLDERS
    if is_stored or (corruption is not None and corruption.side):
        image_format = ImageFormat(None, "png")
    about = {
        "side": image_format.side,
        "extension": image_format.extension,
        "classes": kept,
        "corruption": None if corruption is None else vars(corruption),
    }
    mark = fingerprint(about)
    cache = index.parent / f"{index.name}{CACHE}"
    reads = FolderReads()
    if isinstance(source, EvalSource):
        folders = source.folders(kept)
        images = eval_images(folders, class_ids, selection, reads)
        # A class map may lack classes.
        expected = list(dict.fromkeys(folder.class_id for folder in folders))
    else:
        files = source_of(source).paths(source)
        states = file_states(files)
        images = indexed_eval_images(source, kept, class_ids, selection, cache)
        expected = kept
    everything = list(images)
    check_classes((image.class_id for image in everything), expected, tar.stem)
    kinds = 1 if corruption is None else len(corruption.kinds)
    with (
        Progress(f"pack {tar.stem}", len(everything) * kinds, "image") as progress,
        ExitStack() as stack,
    ):
        samples = _complete(read_samples(everything, image_format, mark))
        if corruption is not None:
            samples = _corrupted(samples, corruption, workers, stack)
        write_shard(tar, manifest, _counted(samples, progress))
    if not isinstance(source, EvalSource):
        write_files_index(index, files, states, token)
    elif source.layout == CORRUPTION_FOLDERS:
        # Millions of files, published once: they are not watched.
        write_json(index, {"token": token, "files": {}})
    else:
        reads.write_index(index, token)


def _complete(samples: Iterable[Sample]) -> Iterator[Sample]:
    for sample in samples:
        if sample.image is None:
            raise CapsynthError(f"cannot read {sample.record.reason}; mend or remove the image")
        yield sample


def _corrupted(
    samples: Iterable[Sample], corruption: CorruptionSettings, workers: int, stack: ExitStack
) -> Iterator[Sample]:
    """Yield the corrupted images of each sample, in order; few are in memory at a time."""
    if workers == 1:
        for sample in samples:
            yield from _corrupt_sample(sample, corruption)
        return
    pool: Executor = stack.enter_context(ProcessPoolExecutor(workers))
    waiting: deque[Future[list[Sample]]] = deque()
    for sample in samples:
        waiting.append(pool.submit(_corrupt_sample, sample, corruption))
        if len(waiting) > workers * WAITING:
            yield from waiting.popleft().result()
    while waiting:
        yield from waiting.popleft().result()


def _corrupt_sample(sample: Sample, corruption: CorruptionSettings) -> list[Sample]:
    record = sample.record
    assert sample.image is not None
    with Image.open(io.BytesIO(sample.image)) as opened:
        clean = opened.convert("RGB")
    made = []
    for name, severity in corruption.kinds:
        seed = derive_seed("corruption", name, severity, record.key)
        try:
            image = encode_image(corrupt_by(corruption, clean, name, severity, seed), "png")
        except CapsynthError as error:
            raise CapsynthError(f"{record.key}: {error}") from error
        made.append(
            Sample(
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
        )
    return made


def _counted(samples: Iterable[Sample], progress: Progress) -> Iterator[Sample]:
    for sample in samples:
        yield sample
        progress.advance(1)

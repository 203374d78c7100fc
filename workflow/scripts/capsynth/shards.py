"""Class shards: WebDataset tars with a manifest that says where each image lies.

A shard is two files. The tar holds, for every image, ``{key}.{extension}``, ``{key}.json`` and
``{key}.cls``, uncompressed and with constant headers, so equal samples give equal bytes. The
manifest is JSON Lines, one record a sample in tar order, rejected samples included; ``offset`` and
``size`` let a reader fetch any image without a scan of the tar.
"""

import hashlib
import io
import os
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, cast

from PIL import Image

from capsynth.errors import CapsynthError
from capsynth.files import atomic_path, dump_json, read_json_lines, write_json_lines
from capsynth.fingerprints import file_digest
from capsynth.integrity import Damaged
from capsynth.reading import again, read_at
from capsynth.seeding import bucket

OK = "ok"
REJECTED = "rejected"


@dataclass(frozen=True)
class ShardRecord:
    """One line of a manifest.

    Attributes:
        key: Name of the sample, unique within its class; of synthetic images and evaluation sets
            over all classes.
        class_id: Class of the sample.
        class_index: Position of the class in the dataset's list of classes.
        index: Position of the sample within its class, over all parts; with the class it seeds
            the noise of synthetic images.
        status: ``ok``, or ``rejected`` with a ``reason``; rejected samples have no image.
        extension: ``png`` or ``jpg``.
        offset: First byte of the image in the tar.
        size: Bytes of the image.
        sha256: Hex digest of the image's bytes.
        fingerprint: Fingerprint of the configuration that made the sample.
        source_key: Key of the real image that a synthetic one descends from.
        prompt: Prompt of a synthetic image.
        seed: Seed of the initial noise of a synthetic image.
        reason: Why a sample was rejected.
        attempts: Images drawn for a prompt, up to the one that is kept.
        flagged: How many of them the safety checker flagged, None if none was checked.
        blank: How many of them were of one colour or not finite.
        prompt_tokens_over: Tokens of the prompt that the generator cut off.
    """

    key: str
    class_id: str
    class_index: int
    index: int
    status: str
    fingerprint: str
    extension: str | None = None
    offset: int | None = None
    size: int | None = None
    sha256: str | None = None
    source_key: str | None = None
    prompt: str | None = None
    seed: int | None = None
    reason: str | None = None
    attempts: int | None = None
    flagged: int | None = None
    blank: int | None = None
    prompt_tokens_over: int | None = None


@dataclass(frozen=True)
class Sample:
    """A record and its image's encoded bytes; None for a rejected sample."""

    record: ShardRecord
    image: bytes | None


def part_of(key: str, parts_per_class: int) -> int:
    """Return the part of its class that ``key`` belongs to: stable as other images come and go."""
    return bucket(key, parts_per_class)


def shard_name(class_id: str, part: int) -> str:
    """Return the name of a class shard: ``{class_id}-{part}``."""
    return f"{class_id}-{part}"


def split_shard_name(shard: str) -> tuple[str, int]:
    """Return the class and part of a shard's name."""
    class_id, _, part = shard.rpartition("-")
    return class_id, int(part)


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> int:
    """Append a member with constant headers and return the offset of its data."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    info.mode = 0o644
    tar.addfile(info, io.BytesIO(data))
    blocks = -(-len(data) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    return int(tar.offset) - blocks


def write_shard(tar_path: Path, manifest_path: Path, samples: Iterable[Sample]) -> int:
    """Write ``samples`` as a tar and its manifest, each atomically; return their number.

    Raises:
        CapsynthError: If a key occurs twice or the samples' fingerprints differ.
    """
    with atomic_path(tar_path) as temporary:
        with temporary.open("wb") as file:
            records = _write_tar(file, samples)
        check_records(tar_path, records)
    write_json_lines(manifest_path, (_row(record) for record in records))
    return len(records)


def _write_tar(file: BinaryIO, samples: Iterable[Sample]) -> list[ShardRecord]:
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        return [_write_sample(tar, sample) for sample in samples]


def _write_sample(tar: tarfile.TarFile, sample: Sample) -> ShardRecord:
    record, image = sample.record, sample.image
    if image is None:
        return record
    name = f"{record.key}.{record.extension}"
    offset = _add(tar, name, image)
    digest = hashlib.sha256(image).hexdigest()
    stored = replace(record, offset=offset, size=len(image), sha256=digest)
    about = {k: v for k, v in _row(stored).items() if k not in ("offset", "size")}
    _add(tar, f"{record.key}.json", dump_json(about).encode())
    _add(tar, f"{record.key}.cls", str(record.class_index).encode())
    return stored


def _row(record: ShardRecord) -> dict[str, object]:
    return {name: value for name, value in vars(record).items() if value is not None}


def check_records(path: Path, records: Sequence[ShardRecord]) -> None:
    """Raise CapsynthError if keys repeat or fingerprints are mixed."""
    seen: set[str] = set()
    for record in records:
        if record.key in seen:
            raise CapsynthError(f"{path}: key {record.key!r} occurs twice; rename one image")
        seen.add(record.key)
    fingerprints = sorted({record.fingerprint for record in records})
    if len(fingerprints) > 1:
        raise CapsynthError(
            f"{path}: made by different configurations ({', '.join(fingerprints)}); "
            "delete it and run again"
        )


def read_manifest(path: Path, check: bool = True) -> list[ShardRecord]:
    """Read a shard's manifest.

    Args:
        path: The manifest.
        check: Whether it is compared with the record of its job.

    Raises:
        CapsynthError: If it is not what its job wrote, a line has unknown or missing fields, or
            fingerprints are mixed.
    """
    known = {field.name for field in fields(ShardRecord)}
    records = []
    for number, row in enumerate(read_json_lines(path, check), start=1):
        if unknown := sorted(set(row) - known):
            raise CapsynthError(f"{path}:{number}: unknown field {unknown[0]!r}; make it anew")
        try:
            record = ShardRecord(**row)
        except TypeError as error:
            raise CapsynthError(f"{path}:{number}: {error}; make it anew") from error
        if problem := _problem_of(record):
            raise CapsynthError(f"{path}:{number}: {problem}; make it anew")
        records.append(record)
    check_records(path, records)
    return records


def _problem_of(record: ShardRecord) -> str | None:
    """Return what is wrong with what readers rely on; None if nothing is."""
    for name in ("key", "class_id", "status", "fingerprint"):
        if type(getattr(record, name)) is not str:
            return f"{name} is no text"
    needed = ("class_index", "index", "offset", "size") if record.status == OK else ()
    for name in needed:
        value = getattr(record, name)
        # What a file cannot hold is no place in it.
        if type(value) is not int or not 0 <= value < 1 << 62:
            return f"{name} is no place or size"
    return None


class _Digest(io.RawIOBase):
    """A file that only its SHA-256 is kept of."""

    def __init__(self) -> None:
        super().__init__()
        self.sha256 = hashlib.sha256()
        self._size = 0

    def write(self, data: Any) -> int:
        self.sha256.update(data)
        self._size += len(data)
        return len(data)

    def tell(self) -> int:
        return self._size


def shard_problem(tar_path: Path, manifest_path: Path) -> str | None:
    """Return how a tar differs from what its manifest says it holds; None if in no bit.

    A manifest determines every byte of its tar but the images, of which it has the checksums.

    Raises:
        CapsynthError: If the manifest is none, or the tar ends too early.
        OSError: If one of them cannot be read.
    """
    records = read_manifest(manifest_path)
    rebuilt = _Digest()
    with ShardReader(tar_path) as reader:
        for record in usable(records):
            data = reader.read_bytes(record, check=False)
            if hashlib.sha256(data).hexdigest() != record.sha256:
                return f"image {record.key!r} is not the one that the manifest names"
        samples = (Sample(r, reader.read_bytes(r) if r.status == OK else None) for r in records)
        if _write_tar(cast(BinaryIO, rebuilt), samples) != records:
            return "its images lie elsewhere than the manifest says"
    if rebuilt.sha256.hexdigest() != file_digest(tar_path):
        return "what stands beside its images is not what the manifest says"
    return None


def usable(records: Iterable[ShardRecord]) -> list[ShardRecord]:
    """Return the records that have an image."""
    return [record for record in records if record.status == OK]


def take_fraction(records: Sequence[ShardRecord], fraction: float) -> list[ShardRecord]:
    """Return a fixed share of ``records``, chosen by their keys: larger shares hold smaller ones.

    Each record has a place in [0, 1) that its key alone decides; the share is those below
    ``fraction``. Its size is therefore near, not exactly, ``fraction`` of all.
    """
    resolution = 1 << 30
    limit = fraction * resolution
    return [r for r in records if bucket(f"fraction/{r.key}", resolution) < limit]


class ShardReader:
    """Random access to the images of one shard.

    The tar is opened at the first read, in the process that reads, so a reader may be sent to
    worker processes.
    """

    def __init__(self, tar_path: Path) -> None:
        self.tar_path = tar_path
        self._file: BinaryIO | None = None

    def read_bytes(self, record: ShardRecord, check: bool = True) -> bytes:
        """Return the encoded image of ``record``.

        Args:
            record: A record of the tar's manifest.
            check: Whether the bytes are compared with its checksum.

        Raises:
            CapsynthError: If the record has no image, the tar ends before the image does, holds
                another one, or cannot be read.
        """
        if record.offset is None or record.size is None:
            raise CapsynthError(f"{self.tar_path}: {record.key!r} has no image: {record.reason}")
        data = read_at(self._number(), record.size, record.offset, self.tar_path)
        if len(data) != record.size:
            raise CapsynthError(
                f"{self.tar_path}: ends inside {record.key!r}; delete it and run again"
            )
        if check and record.sha256 not in (None, hashlib.sha256(data).hexdigest()):
            raise Damaged(
                f"{self.tar_path}: image {record.key!r} is not the one that its manifest names; "
                "delete the tar and run the same command again, which makes it anew"
            )
        return data

    def announce(self, record: ShardRecord) -> None:
        """Tell the kernel that ``record`` will be read: it fetches the image meanwhile.

        Where images lie on a disk or beyond a network, those of a batch so come at once, and not
        one after the other. Where they are in memory it costs about a microsecond.
        """
        if record.offset is not None and record.size and hasattr(os, "posix_fadvise"):  # not macOS
            os.posix_fadvise(self._number(), record.offset, record.size, os.POSIX_FADV_WILLNEED)

    def _number(self) -> int:
        """Return the file descriptor of the tar."""
        if self._file is None:
            self._file = again(self.tar_path, lambda: self.tar_path.open("rb"))
        return self._file.fileno()

    def read_image(self, record: ShardRecord, check: bool = True) -> Image.Image:
        """Return the decoded image of ``record`` as RGB; see ``read_bytes``."""
        return decode_image(self.read_bytes(record, check))

    def close(self) -> None:
        """Close the tar."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __getstate__(self) -> dict[str, object]:
        return {"tar_path": self.tar_path, "_file": None}


def decode_image(data: bytes) -> Image.Image:
    """Decode an image to RGB."""
    with Image.open(io.BytesIO(data)) as image:
        if image.mode != "RGB":
            return image.convert("RGB")
        image.load()  # convert would copy it
        return image


def encode_image(image: Image.Image, extension: str) -> bytes:
    """Encode an image: lossless PNG, or JPEG of quality 95 without chroma subsampling."""
    buffer = io.BytesIO()
    if extension == "png":
        image.save(buffer, "PNG", compress_level=6)
    elif extension == "jpg":
        image.save(buffer, "JPEG", quality=95, subsampling=0)
    else:
        raise CapsynthError(f"image format {extension!r} is not known; known formats: png, jpg")
    return buffer.getvalue()

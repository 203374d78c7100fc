"""Data sets that can be fetched by name, and fetching them.

No URL and no checksum here is from memory: each names the source it was read in. A checksum whose
source is a library that verifies its own downloads with it is as good as that library.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from capsynth.errors import CapsynthError
from capsynth.fetching.locks import (
    content_digest,
    folder_of,
    is_as_stamped,
    listing_digest,
    locked,
    read_stamp,
    write_stamp,
)
from capsynth.fetching.transfer import Fetched, Wanted, fetch
from capsynth.fetching.unpacking import unpack
from capsynth.files import lock
from capsynth.fingerprints import file_digest

log = logging.getLogger(__name__)

RECORDED = "recorded at the first download"


@dataclass(frozen=True)
class Download:
    """An archive that anyone may fetch.

    Attributes:
        url: Where it is.
        folder: Folder inside it that holds the class folders, ``""`` for its root.
        checksum: ``md5:...`` or ``sha256:...``; None if none was found that can be cited.
        source: Where URL and checksum were read.
        size: Bytes of the archive, None if not known.
        homepage: Page of the data set.
        terms: What is known of licence and terms.
    """

    url: str
    folder: str
    checksum: str | None
    source: str
    size: int | None
    homepage: str
    terms: str


_FASTAI = "https://s3.amazonaws.com/fast-ai-imageclas/imagenette2.tgz"
_V2 = "https://huggingface.co/datasets/vaishaal/ImageNetV2/resolve/main"
_SKETCH = "https://huggingface.co/datasets/songweig/imagenet_sketch/resolve/main/data"
_HENDRYCKS = "https://people.eecs.berkeley.edu/~hendrycks"
_ZENODO = "https://zenodo.org/record/2235448/files"
_TFDS = "tensorflow/datasets:tensorflow_datasets/datasets/{}/checksums.tsv"
_C_SOURCE = "shift-happens-benchmark/icml-2022:shifthappens/tasks/imagenet_c/imagenet_c.py"
_IMAGENET_TERMS = "images of ImageNet: its terms of access (image-net.org/download) hold"


def _imagenette(split: str) -> Download:
    return Download(
        url=_FASTAI,
        folder=f"imagenette2/{split}",
        checksum="md5:fe2fc210e6bb7c5664d602c3cd71e612",
        source="torchvision 0.29.1: torchvision/datasets/imagenette.py",
        size=1_557_161_267,  # tensorflow/datasets: imagenette/checksums.tsv
        homepage="https://github.com/fastai/imagenette",
        terms=_IMAGENET_TERMS,
    )


def _imagenet_v2(archive: str, sha256: str, size: int) -> Download:
    return Download(
        url=f"{_V2}/{archive}.tar.gz",
        folder=f"{archive}-format-val",
        checksum=f"sha256:{sha256}",
        source=_TFDS.format("imagenet_v2"),
        size=size,
        homepage="https://github.com/modestyachts/ImageNetV2",
        terms="images of Flickr; to be used as ImageNet is, says the README",
    )


def _imagenet_c(kind: str, md5: str) -> Download:
    return Download(
        url=f"{_ZENODO}/{kind}.tar",
        folder="",
        checksum=f"md5:{md5}",
        source=_C_SOURCE,
        size=None,
        homepage="https://github.com/hendrycks/robustness",
        terms=_IMAGENET_TERMS,
    )


DOWNLOADS: Mapping[str, Download] = {
    "imagenette2": _imagenette("train"),
    "imagenette2-val": _imagenette("val"),
    "imagenetv2-matched-frequency": _imagenet_v2(
        "imagenetv2-matched-frequency",
        "f0c37fdf925916b19ea1323cd9a2208cdb6959ba2c32eef2a7fc393835c9ca7c",
        1_264_079_360,
    ),
    "imagenetv2-threshold0.7": _imagenet_v2(
        "imagenetv2-threshold0.7",
        "32142bfe998f9cfa4141be691f6a80eeb1e27b24bd532a668eb08c26d98897a2",
        1_249_906_176,
    ),
    "imagenetv2-topimages": _imagenet_v2(
        "imagenetv2-top-images",
        "85e4ace30f3f0d660152062254b8759dda66267b27f7ec0fd8d5768f1073a04b",
        1_245_927_936,
    ),
    "imagenet-a": Download(
        url=f"{_HENDRYCKS}/imagenet-a.tar",
        folder="imagenet-a",
        checksum="sha256:3bb3632277e6ba6392ea64c02ddbf4dd2266c9caffd6bc09c9656d28f012589e",
        source=_TFDS.format("imagenet_a"),
        size=687_552_512,
        homepage="https://github.com/hendrycks/natural-adv-examples",
        terms="none given beside the data",
    ),
    "imagenet-r": Download(
        url=f"{_HENDRYCKS}/imagenet-r.tar",
        folder="imagenet-r",
        checksum="sha256:18c6bf493b39a0d975d48e587437f562caab9c52ae6327dcfa9dd8eb54aa1b52",
        source=_TFDS.format("imagenet_r"),
        size=2_191_079_936,
        homepage="https://github.com/hendrycks/imagenet-r",
        terms="none given beside the data",
    ),
    "imagenet-sketch": Download(
        url=f"{_SKETCH}/ImageNet-Sketch.zip",
        folder="sketch",
        checksum="sha256:4d3ce6b82a7c48aabf14aeac105eb533e75707f152cc858f55bfc022031a72ed",
        # The URL is that of the loading script on the hub; the README names Google Drive.
        source=_TFDS.format("imagenet_sketch"),
        size=7_593_573_012,
        homepage="https://github.com/HaohanWang/ImageNet-Sketch",
        terms="none given beside the data",
    ),
    # Each holds {corruption}/{severity}/{class_id}/ of four corruptions, noise of three.
    "imagenet-c-blur": _imagenet_c("blur", "2d8e81fdd8e07fef67b9334fa635e45c"),
    "imagenet-c-digital": _imagenet_c("digital", "89157860d7b10d5797849337ca2e5c03"),
    "imagenet-c-noise": _imagenet_c("noise", "e80562d7f6c3f8834afb1ecf27252745"),
    "imagenet-c-weather": _imagenet_c("weather", "33ffea4db4d93fe4a428c40a6ce0c25d"),
}


def find_download(name: str) -> Download:
    """Return a registered download.

    Raises:
        CapsynthError: If there is none of that name.
    """
    if name not in DOWNLOADS:
        raise CapsynthError(f"download {name!r} is not known; known: {', '.join(DOWNLOADS)}")
    return DOWNLOADS[name]


def fetch_data(name: str, stamp: Path, lock: Path) -> None:
    """Fetch and unpack a registered download, and write its stamp last.

    The archive is deleted once it is unpacked, unless another name of the same archive is still
    to be unpacked beside it. What the lock file recorded is what is accepted, and what lies there
    already, folder or archive, is taken only if it has the checksums that are known of it.

    Args:
        name: A name of ``DOWNLOADS``.
        stamp: JSON file to write; the class folders go to the folder of that name beside it.
        lock: The lock file, which need not exist.

    Raises:
        CapsynthError: If the name is not known, or the archive cannot be fetched or is not what it
            should be.
    """
    download, folder = find_download(name), folder_of(stamp)
    before = locked(lock, stamp)
    if before is not None and before["url"] == download.url and is_as_stamped(before, folder):
        log.info("%s is there already, as %s says", folder, lock)
        write_stamp(stamp, before)
        return
    siblings = {
        other: stamp.with_name(f"{other}.json")
        for other, d in DOWNLOADS.items()
        if d.url == download.url
    }
    archive = stamp.parent / f".{download.url.rpartition('/')[2]}"
    with _alone(archive):
        wanted = _wanted(download, lock, siblings.values())
        fetched = _found(archive, wanted, [s for s in siblings.values() if s != stamp])
        if fetched is None:
            fetched = fetch(download.url, archive, wanted)
        values = {
            "url": download.url,
            "sha256": fetched.sha256,
            "bytes": fetched.size,
            "checksum": download.checksum or RECORDED,
            "checksum_source": download.source if download.checksum else RECORDED,
            "files": unpack(archive, download.folder, folder),
            "listing": listing_digest(folder),
            "content": content_digest(folder),
            "homepage": download.homepage,
            "terms": download.terms,
        }
        write_stamp(stamp, values)
        if all(sibling.exists() for sibling in siblings.values()):
            archive.unlink()


def _wanted(download: Download, lock: Path, stamps: Iterable[Path]) -> Wanted:
    """Return what is known of an archive: by its entry, and by the lock file under any name."""
    checksums = {} if download.checksum is None else {download.checksum: download.source}
    size = download.size
    for entry in filter(None, (locked(lock, stamp) for stamp in stamps)):
        if entry["url"] == download.url:
            checksums[f"sha256:{entry['sha256']}"] = str(lock)
            size = entry["bytes"]
    return Wanted(checksums, size)


def _found(archive: Path, wanted: Wanted, siblings: Iterable[Path]) -> Fetched | None:
    """Return the archive that lies there; None if there is none, or it is not known to be right.

    Another name of the archive may be why it is there; its stamp then says what was unpacked.
    """
    if not archive.exists():
        return None
    known = {*wanted.checksums}
    known |= {f"sha256:{read_stamp(s)['sha256']}" for s in siblings if s.exists()}
    kinds = {checksum.partition(":")[0] for checksum in known}
    found = {f"{kind}:{file_digest(archive, kind)}" for kind in kinds}
    if not known or known != found:
        log.warning("%s is there, but not as it should be; it is fetched anew", archive)
        return None
    log.info("%s is there already: another name is of it too", archive)
    return Fetched(archive, file_digest(archive), archive.stat().st_size)


@contextmanager
def _alone(archive: Path) -> Iterator[None]:
    """Hold a lock on an archive: two names of one archive may be fetched at a time."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with archive.with_name(f"{archive.name}.lock").open("w") as file:
        lock(file.fileno(), archive, wait=True)
        yield


def describe(name: str, stamp: Mapping[str, Any]) -> str:
    """Return one line on what a stamp of a download says."""
    return f"{name}: {stamp['files']} files of {stamp['url']}, sha256 {stamp['sha256'][:12]}"

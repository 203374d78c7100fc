"""Fetching one file over HTTP: resumed where it stopped, retried a bounded number of times."""

import contextlib
import hashlib
import http.client
import logging
import re
import shutil
import time
import urllib.error
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from email.message import Message
from pathlib import Path
from typing import IO, Any

from capsynth.errors import CapsynthError
from capsynth.fetching.paced import open_url
from capsynth.files import read_json, write_json
from capsynth.progress import Progress

log = logging.getLogger(__name__)

CHUNK_BYTES = 1 << 20
MEGABYTE = 1_000_000
# What no archive of pictures has; a bound where nobody says how large a file is.
MAX_BYTES = 200_000 * MEGABYTE
# Attempts in a row that bring next to nothing, and attempts in all.
IDLE_ATTEMPTS = 5
IDLE_BYTES = 1000
ATTEMPTS = 50
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
# Answers that may be others a moment later.
PASSING = (408, 425, 429, 500, 502, 503, 504)
_AGENT = "capsynth (resumable download)"
_NUMBER = re.compile(r"[0-9]{1,15}")  # a petabyte; a number of any length costs any time to read


@dataclass(frozen=True)
class Remote:
    """Which version of a remote file a part belongs to.

    Attributes:
        url: Where it was asked for.
        etag: Its strong ETag, None if the server gives none.
        modified: Its Last-Modified, None if the server gives none.
        size: Its bytes, None if the server does not say.
    """

    url: str
    etag: str | None
    modified: str | None
    size: int | None

    @property
    def can_be_told(self) -> bool:
        """Whether anything is known by which another version would be noticed."""
        return not (self.etag is None and self.modified is None and self.size is None)

    def may_be(self, other: "Remote") -> bool:
        """Whether nothing that is known of both differs."""
        pairs = (
            (self.etag, other.etag),
            (self.modified, other.modified),
            (self.size, other.size),
        )
        return all(mine is None or its is None or mine == its for mine, its in pairs)


@dataclass(frozen=True)
class Fetched:
    """A file that arrived whole.

    Attributes:
        path: Where it lies.
        sha256: Its SHA-256, hex.
        size: Its bytes.
    """

    path: Path
    sha256: str
    size: int


@dataclass(frozen=True)
class Wanted:
    """What is known of a file before it is fetched.

    Attributes:
        checksums: All that it must have, as ``md5:...`` or ``sha256:...``, with who says so.
        size: Its bytes; None if nobody knows.
    """

    checksums: Mapping[str, str] = field(default_factory=dict)
    size: int | None = None


class _Interrupted(Exception):
    """The transfer stopped; what has arrived is kept."""


class _Part:
    """The part of a file that has arrived, hashed as it comes."""

    def __init__(self, path: Path, kinds: set[str]) -> None:
        self.path, self.state = path, path.with_name(f"{path.name}.json")
        self._kinds = kinds
        self.remote = self._read_state()
        if self.remote is None:
            self.clear(None)
        else:
            self._start()
            with self.path.open("ab+") as file:
                file.seek(0)
                while chunk := file.read(CHUNK_BYTES):
                    self._count(chunk)

    def _read_state(self) -> Remote | None:
        try:
            values = read_json(self.state)
            remote = Remote(**{**values, "size": None})
            size = values["size"]
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return None  # no part, or one of which nothing is known
        texts = (remote.url, remote.etag or "", remote.modified or "")
        if not all(isinstance(text, str) for text in texts) or type(size) not in (int, type(None)):
            return None
        return replace(remote, size=size)

    def _start(self) -> None:
        self.size = 0
        self._hashes = {kind: hashlib.new(kind, usedforsecurity=False) for kind in self._kinds}

    def _count(self, chunk: bytes) -> None:
        self.size += len(chunk)
        for digest in self._hashes.values():
            digest.update(chunk)

    def clear(self, remote: Remote | None) -> None:
        """Throw away what has arrived; what comes from now on is of ``remote``."""
        for file in (self.path, self.state):
            file.unlink(missing_ok=True)
        self._start()
        self.remote = remote
        if remote is not None:
            write_json(self.state, asdict(remote))

    def append(self, chunk: bytes, file: IO[bytes]) -> None:
        """Write ``chunk`` to ``file``, the opened part."""
        try:
            file.write(chunk)
        except OSError as error:
            raise CapsynthError(
                f"{self.path} cannot be written ({error.strerror}); free some room, or set "
                "download_folder to a larger disk. Another start goes on from what is there"
            ) from None
        self._count(chunk)

    def digest(self, kind: str) -> str:
        """Return a digest of what has arrived, hex."""
        return self._hashes[kind].hexdigest()


def fetch(url: str, path: Path, wanted: Wanted) -> Fetched:
    """Bring the file at ``url`` to ``path``; a part that an earlier start left is gone on from.

    The part lies beside ``path`` as ``{name}.part``, with ``{name}.part.json`` to tell which
    version of the file it is of. If the server's file is another one by now, the part is thrown
    away.

    Args:
        url: An http or https address.
        path: Where the file is to lie; what is there already is replaced.
        wanted: What is known of it.

    Raises:
        CapsynthError: If the server refuses, if it cannot be reached after all attempts, if the
            disk has no room, or if the file has another size or checksum; the part is then deleted.
    """
    kinds = {checksum.partition(":")[0] for checksum in wanted.checksums}
    path.parent.mkdir(parents=True, exist_ok=True)
    part = _Part(path.with_name(f"{path.name}.part"), {*kinds, "sha256"})
    idle = 0
    for attempt in range(1, ATTEMPTS + 1):
        before = part.size
        try:
            _transfer(url, part, wanted.size)
            break
        except _Interrupted as error:
            idle = 0 if part.size >= before + IDLE_BYTES else idle + 1
            if idle == IDLE_ATTEMPTS or attempt == ATTEMPTS:
                raise CapsynthError(
                    f"{url} could not be fetched: {error}; {part.size} bytes are kept, and "
                    "another start goes on from there"
                ) from None
            wait = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**idle)
            log.warning("%s: %s; trying again in %.0f s", url, error, wait)
            time.sleep(wait)
    for checksum, source in wanted.checksums.items():
        kind, _, expected = checksum.partition(":")
        if (found := part.digest(kind)) != expected:
            part.clear(None)
            raise CapsynthError(
                f"{url} has the {kind} {found}, but {source} says {expected}; what was fetched is "
                "deleted. Start again; if it stays so, its owner has replaced the file"
            )
    fetched = Fetched(path, part.digest("sha256"), part.size)
    part.path.replace(path)
    part.state.unlink()
    return fetched


def _transfer(url: str, part: _Part, wanted: int | None) -> None:
    """Make one request and append what comes to ``part``, of ``wanted`` bytes if that is known."""
    known = part.remote
    if known is None or known.url != url or not known.can_be_told:
        part.clear(None)
        known = None
    elif part.size and part.size == known.size:
        return
    headers = {"User-Agent": _AGENT}
    if known is not None and part.size:
        headers["Range"] = f"bytes={part.size}-"
        validator = known.etag or known.modified
        if validator:
            # The server then sends the whole file if it is another one by now.
            headers["If-Range"] = validator
    try:
        with contextlib.closing(open_url(url, headers)) as response:
            remote = _remote(url, response.status, response.headers)
            if response.status == 206:
                first = _first_byte(response.headers)
                if known is None or first != part.size or not known.may_be(remote):
                    part.clear(None)
                    raise _Interrupted("the file is another one by now, so its part is thrown away")
            else:
                if part.size:
                    log.warning("%s: begun anew, %d bytes are thrown away", url, part.size)
                part.clear(remote)
            if None not in (wanted, remote.size) and wanted != remote.size:
                part.clear(None)
                raise CapsynthError(
                    f"{url} has {remote.size} bytes and should have {wanted}; nothing is fetched. "
                    "Its owner may have replaced the file"
                )
            size = wanted if remote.size is None else remote.size
            _check_room(url, part, size)
            _append(url, response, part, size)
    except urllib.error.HTTPError as error:
        if error.code == 416:
            part.clear(None)
            raise _Interrupted("the file is shorter by now, so its part is thrown away") from None
        if error.code in PASSING:
            raise _Interrupted(f"the server answers {error.code} {error.reason}") from None
        raise CapsynthError(
            f"{url} cannot be fetched: the server answers {error.code} {error.reason}; "
            "docs/prefetch.md tells how to put the data there by hand"
        ) from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise _Interrupted(f"{type(error).__name__}: {reason}") from None


def _append(url: str, response: Any, part: _Part, size: int | None) -> None:
    bound = MAX_BYTES if size is None else size
    title, total = part.path.name.removesuffix(".part"), -(-(size or 0) // MEGABYTE)
    with part.path.open("ab") as file, Progress(title, total, "megabyte") as progress:
        told = part.size // MEGABYTE
        progress.skip(told)
        # As it comes: a slow server would take hours to fill a buffer.
        while chunk := response.read1(CHUNK_BYTES):
            if part.size + len(chunk) > bound:
                break
            part.append(chunk, file)
            progress.advance(part.size // MEGABYTE - told)
            told = part.size // MEGABYTE
    if chunk:
        part.clear(None)
        raise CapsynthError(
            f"{url} goes on behind the {bound} bytes that it should have; what came is deleted"
        )
    if size is not None and part.size < size:
        raise _Interrupted(f"the connection ended after {part.size} of {size} bytes")


def _remote(url: str, status: int, headers: Message) -> Remote:
    etag = headers.get("ETag")
    if etag is not None and etag.startswith("W/"):
        etag = None  # a weak one does not promise the same bytes
    length = headers.get("Content-Length", "")
    if status == 206:
        length = headers.get("Content-Range", "").rpartition("/")[2]
    return Remote(url, etag, headers.get("Last-Modified"), _number(length))


def _number(text: str) -> int | None:
    return int(text) if _NUMBER.fullmatch(text) else None


def _first_byte(headers: Message) -> int:
    first = headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
    number = _number(first)
    return -1 if number is None else number


def _check_room(url: str, part: _Part, size: int | None) -> None:
    free = shutil.disk_usage(part.path.parent).free
    if size is not None and size - part.size > free:
        raise CapsynthError(
            f"{url} has {size} bytes and {part.path.parent} has room for {free} more; free some, "
            "or set download_folder to a larger disk"
        )

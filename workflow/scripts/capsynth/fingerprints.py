"""Fingerprints: short names of configurations and of file contents."""

import functools
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from capsynth.files import dump_json
from capsynth.reading import again

LENGTH = 16


def fingerprint(*values: Any) -> str:
    """Return a name of JSON values that does not depend on the order of their keys."""
    return hashlib.sha256(dump_json(values).encode()).hexdigest()[:LENGTH]


def file_digest(path: Path, kind: str = "sha256") -> str:
    """Return the hex digest of a file, SHA-256 if no other kind is asked for."""
    new = functools.partial(hashlib.new, kind, usedforsecurity=False)

    def digest() -> str:
        with path.open("rb") as file:
            return hashlib.file_digest(file, new).hexdigest()

    return again(path, digest)


def files_digest(paths: Iterable[Path]) -> str:
    """Return a name of the contents of files, in the order given."""
    return fingerprint([file_digest(path) for path in paths])

"""Keys of samples: what a tar can hold of the names of their files, and no two images share."""

import hashlib

from capsynth.names import printable

# A tar's member names have 100 bytes (USTAR); ".json" follows the key, in evaluation sets the
# corruption before it.
KEY_BYTES = 90
EVAL_KEY_BYTES = 74


def short_key(key: str, limit: int) -> str:
    """Return ``key`` if it fits, else its beginning and a digest of it.

    A key fits if it has at most ``limit`` bytes of UTF-8 and nothing unprintable in it.
    """
    encoded = printable(key).encode()
    if encoded == key.encode(errors="surrogatepass") and len(encoded) <= limit:
        return key
    return with_digest(encoded, key, limit)


def with_digest(start: bytes, name: str, limit: int) -> str:
    """Return the beginning of a key and a digest of what it stands for."""
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:16]
    return start[: limit - 17].decode(errors="ignore") + "-" + digest


def eval_key(class_id: str, stem: str, prefix: str = "") -> str:
    """Return the key of an image of an evaluation set.

    All classes are in one shard, and several sets call the first image of every class the same: the
    class stands before a name that does not begin with it.
    """
    key = stem if stem.startswith(f"{class_id}_") else f"{class_id}_{stem}"
    return short_key(f"{prefix}_{key}" if prefix else key, EVAL_KEY_BYTES)


class EvalKeys:
    """Keys of the images of one evaluation set, none of which two images have.

    ``bat_1.jpg`` and ``1.jpg`` of class ``bat``, the ``1.jpg`` of two folders that a class map
    makes one class, and images of the classes ``a`` and ``a_b`` may meet in one key: all but the
    first get a digest of what they are.
    """

    def __init__(self) -> None:
        self._first: dict[str, tuple[str, ...]] = {}

    def key(self, class_id: str, folder: str, stem: str, prefix: str = "") -> str:
        """Return the key of an image; the same of one that is stored corrupted in several ways."""
        key = eval_key(class_id, stem, prefix)
        image = (class_id, prefix, folder, stem)
        if self._first.setdefault(key, image) == image:
            return key
        return with_digest(key.encode(), "/".join(image), EVAL_KEY_BYTES)

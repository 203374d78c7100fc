"""Seeds derived from what a random draw is for, never from the order in which it is made."""

import hashlib
import json

SEED_BITS = 63


def derive_seed(*parts: str | int) -> int:
    """Return the seed that belongs to ``parts``.

    The seed is the first 63 bits of the BLAKE2b digest of the parts written as a JSON list, so it
    depends on every part and on their order, and on nothing else: not on the shard, the batch, the
    process or the machine. 63 bits keep it within the signed 64-bit seeds that torch accepts.

    Args:
        parts: Strings and integers that name the draw, for example
            ``derive_seed("noise", "openmoji", "bat", 7, 0)``.

    Returns:
        An integer in ``[0, 2**63)``.
    """
    text = json.dumps(parts, ensure_ascii=True, separators=(",", ":"))
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> (64 - SEED_BITS)


def bucket(key: str, buckets: int) -> int:
    """Return the bucket in ``[0, buckets)`` that ``key`` belongs to, the same on every machine."""
    digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % buckets

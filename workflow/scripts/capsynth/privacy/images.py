"""Leakage of the images themselves: is a synthetic image closer to its own real image than chance?

Feature arrays have one row an image; similarity is the cosine of two rows. Everything is computed
in blocks of rows, so memory does not grow with the number of pairs, but time does.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from capsynth.errors import CapsynthError
from capsynth.statistics import ImageDesign, image_weights

Floats = npt.NDArray[np.floating]
Integers = npt.NDArray[np.integer]
Hashes = npt.NDArray[np.uint64]

# 4 million similarities of 4 bytes: 16 MB a block.
PAIRS_PER_BLOCK = 4_000_000
# Difference hashes of pictures that are the same but for blur and size differ in up to this many of
# their 64 bits. Of the 400 real images of the embedded experiment, no two are closer than 9.
NEAR_BITS = 6


def unit_rows(features: Floats) -> npt.NDArray[np.float32]:
    """Return features of length one, so that a product of two rows is their cosine.

    Raises:
        CapsynthError: If a row is zero or not finite.
    """
    length = np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
    if not np.isfinite(length).all() or (length == 0).any():
        raise CapsynthError("a feature vector is zero or not finite; compute the features again")
    return (features / length).astype(np.float32)


@dataclass(frozen=True, eq=False)
class MatchedPairs:
    """How much closer synthetic images are to their own real image than to others.

    Attributes:
        matched: Similarity of every synthetic image and its source, shape (n,).
        others: Its mean similarity to the other real images of the group, shape (n,); not a
            number where there is none.
        auc: Probability that the own source is more similar than another, ties counted as half.
        gap: Mean of ``matched`` - ``others``.
        auc_influence: How ``auc`` changes with the weight of each real image, shape (real,).
        gap_influence: The same of ``gap``.
    """

    matched: Floats
    others: Floats
    auc: float
    gap: float
    auc_influence: Floats
    gap_influence: Floats

    def replicates(self, design: ImageDesign, draws: int, seed: int) -> Floats:
        """Return bootstrap replicates of (auc, gap): shape (draws, 2).

        Real images are drawn, and with each the synthetic images that descend from it. A real image
        plays two parts, the own one and the other one; both move with its weight. The replicates
        are linear in the weights (Jaeckel's infinitesimal jackknife), so that a draw costs no new
        pass over the pairs.

        Args:
            design: Of the real images, ``image_design`` of their classes and keys.
            draws: Number of replicates.
            seed: Seed of the draws.
        """
        influence = np.stack([self.auc_influence, self.gap_influence], axis=1)
        blocks = [(weights - 1.0) @ influence for weights in image_weights(design, draws, seed)]
        return np.array([self.auc, self.gap]) + np.concatenate(blocks)


def match_pairs(synthetic: Floats, source: Integers, real: Floats, group: Integers) -> MatchedPairs:
    """Compare the similarity of synthetic i and real i with that of synthetic i and real j.

    Args:
        synthetic: Features of the n synthetic images, see ``unit_rows``.
        source: Position in ``real`` of the image each descends from, shape (n,).
        real: Features of the real images.
        group: Others are the real images of the same number here, shape (real,): class indices to
            compare within classes, zeros to compare with any image.

    Raises:
        CapsynthError: If no synthetic image has another real image to be compared with.
    """
    matched = np.zeros(len(synthetic))
    sums = np.zeros((len(synthetic), 2))
    as_other = np.zeros((len(real), 2))
    counts = np.bincount(group, minlength=int(group.max()) + 1)[group[source]] - 1
    for rows, columns in _blocks(group[source], group):
        similarity = (synthetic[rows] @ real[columns].T).astype(np.float64)
        own = columns[None, :] == source[rows][:, None]
        matched[rows] = similarity[own]
        mine = matched[rows][:, None]
        kernels = (
            (similarity < mine) + 0.5 * (similarity == mine),
            mine - similarity,
        )
        others = len(columns) - 1
        for which, kernel in enumerate(kernels):
            kernel = np.where(own, 0.0, kernel)
            total = kernel.sum(axis=1)
            sums[rows, which] = total
            if others:
                from_mean = np.where(own, 0.0, kernel - total[:, None] / others)
                as_other[columns, which] += from_mean.sum(axis=0) / others
    compared = counts > 0
    if not compared.any():
        raise CapsynthError(
            "no class has two real images, so no other image to compare with; add images"
        )
    means = np.full_like(sums, np.nan)
    means[compared] = sums[compared] / counts[compared, None]
    estimate = means[compared].mean(axis=0)
    as_own = np.zeros_like(as_other)
    np.add.at(as_own, source[compared], means[compared] - estimate)
    influence = (as_own + as_other) / compared.sum()
    return MatchedPairs(
        matched=matched,
        others=matched - means[:, 1],
        auc=float(estimate[0]),
        gap=float(estimate[1]),
        auc_influence=influence[:, 0],
        gap_influence=influence[:, 1],
    )


def _blocks(of_rows: Integers, of_columns: Integers) -> list[tuple[Integers, Integers]]:
    """Return blocks of rows with all columns of their group."""
    blocks: list[tuple[Integers, Integers]] = []
    for number in np.unique(of_rows):
        rows, columns = np.flatnonzero(of_rows == number), np.flatnonzero(of_columns == number)
        size = max(1, PAIRS_PER_BLOCK // len(columns))
        blocks += [(rows[start : start + size], columns) for start in range(0, len(rows), size)]
    return blocks


@dataclass(frozen=True, eq=False)
class Nearest:
    """The nearest real image of each of ``n`` images.

    Attributes:
        position: Its position, shape (n,).
        value: Similarity to it, or Hamming distance, shape (n,).
    """

    position: Integers
    value: Floats | Integers


def nearest_by_features(images: Floats, real: Floats, itself: bool = False) -> Nearest:
    """Return the most similar real image of every image.

    Args:
        images: Features, see ``unit_rows``.
        real: Features of the real images.
        itself: The images are the real ones, and none is compared with itself.
    """
    position = np.zeros(len(images), dtype=np.int64)
    value = np.zeros(len(images))
    for rows in _row_blocks(len(images), len(real)):
        similarity = images[rows] @ real.T
        if itself:
            similarity[np.arange(len(rows)), rows] = -np.inf
        position[rows] = similarity.argmax(axis=1)
        value[rows] = similarity.max(axis=1)
    return Nearest(position, value)


def _row_blocks(rows: int, columns: int) -> list[Integers]:
    size = max(1, PAIRS_PER_BLOCK // max(1, columns))
    return [np.arange(start, min(rows, start + size)) for start in range(0, rows, size)]


def nearer_to_sources(to_sources: Floats, to_held_out: Floats) -> Floats:
    """Return for each synthetic image whether it is nearer to the captioned images: 1, 0, or 1/2.

    Where nothing leaks, the mean is the share of captioned images among all real images that were
    looked at; with as many held-out images a class as captioned ones it is 1/2.

    Args:
        to_sources: Highest similarity to a captioned real image, shape (n,).
        to_held_out: Highest similarity to a real image that was not captioned, shape (n,).
    """
    return (to_sources > to_held_out) + 0.5 * (to_sources == to_held_out)


def pixel_digest(image: Image.Image) -> str:
    """Return the SHA-256 hex digest of an image's size and RGB pixels, whatever its file is."""
    rgb = image.convert("RGB")
    digest = hashlib.sha256(f"{rgb.width}x{rgb.height}/".encode())
    digest.update(rgb.tobytes())
    return digest.hexdigest()


def equal_positions(digests: Sequence[str], others: Sequence[str]) -> Integers:
    """Return for each digest the first position in ``others`` with the same one, else -1."""
    first: dict[str, int] = {}
    for position, digest in enumerate(others):
        first.setdefault(digest, position)
    return np.array([first.get(digest, -1) for digest in digests], dtype=np.int64)


def repeats(digests: Sequence[str]) -> int:
    """Return how many images of a set equal an earlier one of it."""
    return len(digests) - len(set(digests))


def difference_hash(image: Image.Image) -> np.uint64:
    """Return the 64 bits of the difference hash of an image: dHash, as in ImageHash.

    Each bit says whether a pixel of the grey 9 x 8 thumbnail is brighter than its left neighbour.
    """
    import imagehash

    bits = imagehash.dhash(image, hash_size=8).hash
    return np.packbits(bits).view(">u8")[0].astype(np.uint64)


def nearest_by_hash(hashes: Hashes, real: Hashes, itself: bool = False) -> Nearest:
    """Return the real image whose hash differs in the fewest bits, and how many.

    Args:
        hashes: Of the images, shape (n,).
        real: Of the real images.
        itself: The images are the real ones, and none is compared with itself.
    """
    position = np.zeros(len(hashes), dtype=np.int64)
    value = np.zeros(len(hashes), dtype=np.int64)
    for rows in _row_blocks(len(hashes), len(real)):
        distance = np.bitwise_count(hashes[rows, None] ^ real[None, :])
        if itself:
            distance[np.arange(len(rows)), rows] = 255
        position[rows] = distance.argmin(axis=1)
        value[rows] = distance.min(axis=1)
    return Nearest(position, value)

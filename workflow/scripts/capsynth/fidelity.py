"""Fidelity and diversity of synthetic images, from features of two sets of images.

Features are rows of any real number format, shape (images, dimensions); everything is computed in
float64, whatever they are stored in. Distances come from a product of matrices, as
|a|² + |b|² - 2ab: what it loses to rounding is ``eps`` of |a|², which in float32 hides distances
below a three-thousandth of the norm, and near duplicates are what the numbers are about. In
float64 it costs twice the time. Only blocks are converted and compared at once, so memory beyond
the features themselves is bounded, whatever their number.

Every number here depends on how many images there are. Compare sets of equal size, and see
``caveats``.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from capsynth.errors import CapsynthError

Floats = npt.NDArray[np.floating]
Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.integer]
Strings = npt.NDArray[np.str_]

NEIGHBOURS = 5
# Distances are computed 2048 x 2048 at once, 8 bytes each: 32 MB.
SIDE = 2048
# Features of so many images are converted at once.
BLOCK = 4096
# Squared distances that differ by less than this share of a radius and its centre's norm are the
# same but for rounding. It is some hundred times the rounding of a product over 1,000 dimensions.
TIE = 1e-12


@dataclass(frozen=True)
class Manifolds:
    """How two sets of images cover each other, by balls around each image up to a neighbour.

    Attributes:
        precision: Share of the synthetic images that lie in the ball of any real image.
        recall: Share of the real images that lie in the ball of any synthetic image.
        density: Real balls that hold a synthetic image, on average, over the number of neighbours.
        coverage: Share of the real images whose ball holds a synthetic image.
    """

    precision: float
    recall: float
    density: float
    coverage: float


@dataclass(frozen=True)
class Fidelity:
    """Synthetic images against real ones; a number that does not exist is NaN.

    Attributes:
        real: Number of real images.
        synthetic: Number of synthetic images.
        frechet_distance: See ``frechet_distance``.
        precision: See ``Manifolds``, as for the next three.
        recall: See there.
        density: See there.
        coverage: See there.
        vendi_real: Vendi score of the real images.
        vendi_synthetic: Vendi score of the synthetic images.
    """

    real: int
    synthetic: int
    frechet_distance: float
    precision: float
    recall: float
    density: float
    coverage: float
    vendi_real: float
    vendi_synthetic: float

    @property
    def scores(self) -> dict[str, float]:
        """The numbers by name, without the numbers of images."""
        return {k: v for k, v in asdict(self).items() if k not in ("real", "synthetic")}


def frechet_distance(real: Floats, synthetic: Floats) -> float:
    """Return the squared Fréchet distance of two normal distributions fitted to features.

    |m1 - m2|² + tr(S1) + tr(S2) - 2 tr((S1 S2)^½), with means m and unbiased covariances S (Heusel
    et al., NeurIPS 2017, arXiv 1706.08500; known as FID where the features are those of its
    Inception network).

    With any roots S1 = L1 L1ᵀ and S2 = L2 L2ᵀ, the last trace is the sum of the singular values of
    L1ᵀ L2. The roots are triangles of a QR decomposition of the centred features: no covariance is
    built, which would square the condition number, and no root of a product that need not be
    symmetric is taken, so nothing is added to its diagonal and no imaginary part is dropped.

    With fewer images than dimensions the covariances are singular; the formula and this way of
    computing it hold, but the estimate is far above what more images would give (Chong and Forsyth,
    CVPR 2020, arXiv 1911.07023).

    Returns:
        The distance, 0 or more; NaN if a set has fewer than two images and hence no covariance.

    Raises:
        CapsynthError: If the features are not of one width, or not finite.
    """
    _check(real, synthetic)
    if min(len(real), len(synthetic)) < 2:
        return float("nan")
    mean1, root1 = _mean_and_root(real)
    mean2, root2 = _mean_and_root(synthetic)
    common = np.linalg.svd(root1 @ root2.T, compute_uv=False).sum()
    traces = np.square(root1).sum() + np.square(root2).sum()
    return max(0.0, float(np.square(mean1 - mean2).sum() + traces - 2.0 * common))


def _mean_and_root(features: Floats) -> tuple[Doubles, Doubles]:
    """Return the mean, and R with RᵀR the covariance: (at most dimensions, dimensions)."""
    mean = features.mean(axis=0, dtype=np.float64)
    root = np.empty((0, features.shape[1]))
    for block in _blocks(features, BLOCK):
        root = np.asarray(np.linalg.qr(np.vstack([root, block - mean]), mode="r"))
    return mean, root / np.sqrt(len(features) - 1)


def manifolds(real: Floats, synthetic: Floats, k: int = NEIGHBOURS) -> Manifolds:
    """Return precision, recall, density and coverage.

    The ball of an image reaches to its ``k``-th nearest other image of its own set. Precision and
    recall are those of Kynkäänniemi et al., NeurIPS 2019 (arXiv 1904.06991), density and coverage
    those of Naeem et al., ICML 2020 (arXiv 2002.09797). As in the code of the latter (package
    ``prdc``) the surface of a ball is not part of it; the former's formula counts it in, which
    differs where distances are equal, as among duplicates. An image with ``k`` or more duplicates
    in its own set thus has an empty ball.

    Whether distances are equal is decided up to rounding (``TIE``). ``prdc`` compares rounded
    distances as they are: of equal ones it counts some and not others.

    Returns:
        The four numbers; all NaN if a set has no more than ``k`` images.

    Raises:
        CapsynthError: If ``k`` is not positive, or features are not of one width, or not finite.
    """
    _check(real, synthetic)
    if k < 1:
        raise CapsynthError(f"{k} neighbours give no ball; ask for at least 1")
    if min(len(real), len(synthetic)) <= k:
        return Manifolds(*[float("nan")] * 4)
    # Distances do not depend on the origin, their rounding does: the least is lost around the mean.
    origin = real.mean(axis=0, dtype=np.float64)
    real_radii = _radii(real, origin, k)
    synthetic_radii = _radii(synthetic, origin, k)
    precise = np.zeros(len(synthetic), dtype=bool)
    recalled = np.zeros(len(real), dtype=bool)
    covered = np.zeros(len(real), dtype=bool)
    held = 0
    for rows, columns, distances in _distances(real, synthetic, origin):
        in_real = distances < real_radii[rows, None]
        precise[columns] |= in_real.any(axis=0)
        covered[rows] |= in_real.any(axis=1)
        held += int(np.count_nonzero(in_real))
        recalled[rows] |= (distances < synthetic_radii[columns]).any(axis=1)
    return Manifolds(
        precision=float(precise.mean()),
        recall=float(recalled.mean()),
        density=held / (k * len(synthetic)),
        coverage=float(covered.mean()),
    )


def _radii(features: Floats, origin: Doubles, k: int) -> Doubles:
    """Return the squared distance of each image to its ``k``-th nearest other, less ``TIE``."""
    nearest = np.full((len(features), k), np.inf)
    for rows, columns, distances in _distances(features, features, origin, upper=True):
        if rows == columns:
            np.fill_diagonal(distances, np.inf)
        else:
            nearest[columns] = _smallest(nearest[columns], distances.T)
        nearest[rows] = _smallest(nearest[rows], distances)
    norms = np.concatenate([_norms(block - origin) for block in _blocks(features, BLOCK)])
    radii = nearest.max(axis=1)
    return radii - TIE * (radii + norms)


def _smallest(known: Doubles, more: Doubles) -> Doubles:
    """Return the smallest of each row of two matrices, as many as the first is wide."""
    width = known.shape[1]
    limit = known.max(axis=1, keepdims=True)
    if np.isinf(limit).any():
        return np.partition(np.hstack([known, more]), width - 1, axis=1)[:, :width]
    # Few of a later block are small enough: looking for those is much faster than partitioning all.
    row, column = np.nonzero(more < limit)
    rows = np.concatenate([np.repeat(np.arange(len(known)), width), row])
    values = np.concatenate([known.ravel(), more[row, column]])
    order = np.lexsort((values, rows))
    first = np.searchsorted(rows[order], np.arange(len(known)))
    return values[order][first[:, None] + np.arange(width)]


def _distances(
    a: Floats, b: Floats, origin: Doubles, upper: bool = False
) -> Iterator[tuple[slice, slice, Doubles]]:
    """Yield squared distances of the rows of ``a`` to those of ``b`` by block, with its place.

    Args:
        a: Shape (n, dimensions).
        b: Shape (m, dimensions).
        origin: What is taken off first, shape (dimensions,).
        upper: Leave out the blocks below the diagonal, which of ``a`` and itself are those above.
    """
    for i in range(0, len(a), SIDE):
        left = a[i : i + SIDE] - origin
        left_norms = _norms(left)[:, None]
        left *= -2.0
        for j in range(i if upper else 0, len(b), SIDE):
            right = b[j : j + SIDE] - origin
            distances = left @ right.T
            distances += left_norms
            distances += _norms(right)
            yield slice(i, i + len(left)), slice(j, j + len(right)), distances


def _norms(rows: Doubles) -> Doubles:
    return np.einsum("ij,ij->i", rows, rows)


def _blocks(features: Floats, size: int) -> Iterator[Doubles]:
    for start in range(0, len(features), size):
        yield np.asarray(features[start : start + size], dtype=np.float64)


def vendi_score(features: Floats) -> float:
    """Return the Vendi score of images: how many different ones there are, in effect.

    The exponential of the entropy of the eigenvalues of K / n, where K are the cosines between all
    n images (Friedman and Dieng, TMLR 2023, arXiv 2210.02410): 1 if all are alike, n if all are
    orthogonal. The eigenvalues that are not 0 are also those of the product of the normalised
    features over the images, of shape (dimensions, dimensions), taken where it is the smaller.

    Returns:
        The score; NaN of no images.

    Raises:
        CapsynthError: If a feature is not finite, or all zeros: it has no direction.
    """
    _check(features, features)
    n, dimensions = features.shape
    if n == 0:
        return float("nan")
    if n <= dimensions:
        rows = _directions(np.asarray(features, dtype=np.float64))
        gram = rows @ rows.T
    else:
        gram = np.zeros((dimensions, dimensions))
        for block in _blocks(features, BLOCK):
            rows = _directions(block)
            gram += rows.T @ rows
    eigenvalues = np.linalg.eigvalsh(gram / n)
    positive = eigenvalues[eigenvalues > 0]
    return float(np.exp(-(positive * np.log(positive)).sum()))


def _directions(rows: Doubles) -> Doubles:
    lengths = np.sqrt(_norms(rows))
    if not lengths.all():
        raise CapsynthError(
            "an image's feature is all zeros, which has no direction; use another feature extractor"
        )
    return rows / lengths[:, None]


def compare(real: Floats, synthetic: Floats, k: int = NEIGHBOURS) -> Fidelity:
    """Return all numbers of synthetic images against real ones."""
    balls = manifolds(real, synthetic, k)
    return Fidelity(
        real=len(real),
        synthetic=len(synthetic),
        frechet_distance=frechet_distance(real, synthetic),
        **asdict(balls),
        vendi_real=vendi_score(real),
        vendi_synthetic=vendi_score(synthetic),
    )


def standard_errors(
    real: Floats,
    real_class_ids: Strings,
    synthetic: Floats,
    synthetic_class_ids: Strings,
    draws: int = 20,
    seed: int = 0,
    k: int = NEIGHBOURS,
) -> dict[str, float]:
    """Return the standard error of each number of ``compare`` by name, other images being drawn.

    It is the spread of the numbers over random halves of the images, drawn without replacement
    within each class: the variance over halves of a smooth statistic is that of the whole, as half
    the images vary twice as much and share half of themselves with one another (the delete-d
    jackknife with d = n / 2; Shao and Wu, Annals of Statistics 17(3), 1989). A bootstrap would not
    do: images that are drawn twice are each other's nearest neighbours, and lower Vendi scores and
    the rank of covariances.

    Compared with the spread over freshly drawn images (300 of 6 dimensions) it was right within a
    tenth for the Fréchet distance and Vendi scores, and a fifth to a third too large for the other
    four, which are not smooth. It is no interval: numbers of few images are biased by more than
    they vary (see ``caveats``), and the generator's seed is not drawn anew.

    Args:
        real: Features, shape (n, dimensions).
        real_class_ids: Class of each real image, shape (n,); all alike for no strata.
        synthetic: Features, shape (m, dimensions).
        synthetic_class_ids: Class of each synthetic image, shape (m,).
        draws: Halves; each takes a quarter of the time of ``compare`` or a little more.
        seed: Seed of the draws.
        k: Neighbours.

    Raises:
        CapsynthError: If there are fewer than two draws.
    """
    if draws < 2:
        raise CapsynthError(f"{draws} halves have no spread; ask for at least 2")
    rng = np.random.default_rng(seed)
    replicates = []
    for _ in range(draws):
        half = _half(real_class_ids, rng)
        other = _half(synthetic_class_ids, rng)
        replicates.append(list(compare(real[half], synthetic[other], k).scores.values()))
    names = compare(real[:0], synthetic[:0], k).scores
    return dict(zip(names, np.std(replicates, axis=0, ddof=1).tolist(), strict=True))


def _half(class_ids: Strings, rng: np.random.Generator) -> Integers:
    """Return the places of a random half of each class, of an odd one rounded up or down."""
    taken = []
    for name in np.unique(class_ids):
        places = rng.permutation(np.flatnonzero(class_ids == name))
        taken.append(places[: (len(places) + int(rng.integers(2))) // 2])
    return np.sort(np.concatenate(taken)) if taken else np.empty(0, dtype=np.int64)


def caveats(real: int, synthetic: int, dimensions: int, k: int = NEIGHBOURS) -> list[str]:
    """Return what to know before the numbers of so many images are read, one sentence each.

    Args:
        real: Number of real images.
        synthetic: Number of synthetic images.
        dimensions: Width of the features.
        k: Neighbours.
    """
    fewest = min(real, synthetic)
    said = []
    if fewest < 2:
        said.append("Fréchet distance: needs two images of each kind.")
    elif fewest <= dimensions:
        said.append(
            f"Fréchet distance: {fewest} images span less than the {dimensions} dimensions, so it "
            "is biased upwards; compare it only with sets of the same size."
        )
    if fewest <= k:
        said.append(
            f"Precision, recall, density, coverage: need more than {k} images of each kind."
        )
    if real != synthetic:
        said.append(
            f"{real} real and {synthetic} synthetic images: recall and coverage grow with the "
            "synthetic ones, and Vendi scores with their own set; compare sets of equal size."
        )
    return said


def _check(a: Floats, b: Floats) -> None:
    for features in (a, b):
        if features.ndim != 2 or features.shape[1] != a.shape[1]:
            raise CapsynthError(
                f"features of shapes {a.shape} and {b.shape} are not comparable; "
                "take both from one feature extractor"
            )
        # A sum is finite only if every summand is, short of an overflow, which is none to keep.
        if not np.isfinite(features.sum(dtype=np.float64)):
            raise CapsynthError(
                "features are not finite; extract them in another dtype, such as float32"
            )

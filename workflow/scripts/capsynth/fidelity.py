"""Fidelity and diversity of synthetic images, from features of two sets of images.

Features are rows of any real number format, shape (images, dimensions); everything is computed in
float64, whatever they are stored in. Distances come from a product of matrices, as
|a|² + |b|² - 2ab: what it loses to rounding is ``eps`` of |a|², which in float32 hides distances
below a three-thousandth of the norm, and near duplicates are what the numbers are about. In
float64 it costs twice the time. Only blocks are converted and compared at once, so memory beyond
the features themselves is bounded, whatever their number.

Every number here but the kernel distance depends on how many images there are. Compare sets of
equal size, and see ``caveats``; ``fidelity_errors`` has standard errors.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from capsynth.errors import CapsynthError

Floats = npt.NDArray[np.floating]
Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.integer]
# Numbers by name, of some images of either set, given by their places.
Scores = Callable[[Integers, Integers], dict[str, float]]

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
        kernel_distance: See ``kernel_distance``.
        precision: See ``Manifolds``, as for the next three.
        recall: See there.
        density: See there.
        coverage: See there.
        vendi_score: Vendi score of the synthetic images.
    """

    real: int
    synthetic: int
    frechet_distance: float
    kernel_distance: float
    precision: float
    recall: float
    density: float
    coverage: float
    vendi_score: float

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
    L1ᵀ L2. The roots are the centred features, or triangles of their QR decomposition: no
    covariance is built, which would square the condition number, and no root of a product that need
    not be symmetric is taken, so nothing is added to its diagonal and no imaginary part is dropped.

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
    if len(features) <= features.shape[1]:
        # The centred features are a root already, and no longer than a triangle would be.
        return mean, (np.asarray(features, np.float64) - mean) / np.sqrt(len(features) - 1)
    root = np.empty((0, features.shape[1]))
    for block in _blocks(features, BLOCK):
        root = np.asarray(np.linalg.qr(np.vstack([root, block - mean]), mode="r"))
    return mean, root / np.sqrt(len(features) - 1)


def kernel_distance(real: Floats, synthetic: Floats) -> float:
    """Return the kernel distance of two sets of features, known as KID where they are Inception's.

    The unbiased estimate of the squared maximum mean discrepancy with the kernel (x·y / d + 1)³, d
    dimensions (Bińkowski et al., ICLR 2018, arXiv 1801.01401): the mean kernel of two real images,
    plus that of two synthetic ones, less twice that of a real and a synthetic one, no image being
    paired with itself. Its expectation is the same at every number of images and 0 for two samples
    of one distribution, so it may come out below 0. All images are taken at once; published KIDs
    are means over random subsets, which have the same expectation and vary more.

    Returns:
        The distance; NaN if a set has fewer than two images.

    Raises:
        CapsynthError: If the features are not of one width, or not finite.
    """
    _check(real, synthetic)
    if min(len(real), len(synthetic)) < 2:
        return float("nan")
    within = [_kernel_sum(x, x, upper=True) / (len(x) * (len(x) - 1)) for x in (real, synthetic)]
    return sum(within) - 2.0 * _kernel_sum(real, synthetic) / (len(real) * len(synthetic))


def _kernel_sum(a: Floats, b: Floats, upper: bool = False) -> float:
    """Return the sum of the kernel over all pairs, ``upper``: of two different rows of ``a``."""
    total = 0.0
    for i in range(0, len(a), SIDE):
        left = np.asarray(a[i : i + SIDE], dtype=np.float64) / a.shape[1]
        for j in range(i if upper else 0, len(b), SIDE):
            kernel = left @ np.asarray(b[j : j + SIDE], dtype=np.float64).T
            kernel += 1.0
            # Twice as fast as a power.
            kernel *= kernel * kernel
            if upper and i == j:
                total += float(kernel.sum() - np.trace(kernel))
            else:
                total += (2.0 if upper else 1.0) * float(kernel.sum())
    return total


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
        kernel_distance=kernel_distance(real, synthetic),
        **asdict(balls),
        vendi_score=vendi_score(synthetic),
    )


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
            "is far above what more images would give; compare it only with sets of the same size."
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

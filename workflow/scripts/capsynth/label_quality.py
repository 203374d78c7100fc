"""How many labels of a set of images are wrong: confident learning.

Northcutt, Jiang and Chuang, Confident Learning: Estimating Uncertainty in Dataset Labels, Journal
of Artificial Intelligence Research 70, 2021 (arXiv 1911.00068). An image counts as of class j with
confidence if a classifier that was not trained on it gives j at least the threshold t_j, the mean
probability that it gives j to the images labelled j; of several such classes the most probable one.
The confident joint C counts images by label and confident class; its rows, scaled to the number of
images of each label, estimate the joint distribution of given and true labels. Its share off the
diagonal is the estimated share of wrong labels.

Thresholds that follow the labels make up for a classifier that is more sure of one class than of
another, as long as most labels of a class are right. Where most are wrong the threshold falls with
them and the estimate is too low: then the thresholds of other images, whose labels are known to be
right, do better.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
Integers = npt.NDArray[np.integer]

# A mean of equal probabilities is not always their value to the last digit; cleanlab's tolerance.
TOLERANCE = 1e-6
# The confident class of an image that reaches no threshold.
NONE = -1


@dataclass(frozen=True, eq=False)
class Candidates:
    """Classes that images may be of, by image and, most probable first, within it.

    Attributes:
        images: Number of images.
        image: Image of each candidate.
        class_index: Class of each candidate.
        probability: Its probability.
    """

    images: int
    image: Integers
    class_index: Integers
    probability: Floats


def thresholds(
    probabilities: Floats, labels: Integers, weights: Floats | None = None
) -> npt.NDArray[np.float64]:
    """Return the mean probability of each class over the images labelled so, shape (classes,).

    Args:
        probabilities: Shape (n, classes).
        labels: Given labels, shape (n,).
        weights: Of the images, shape (n,); None for equal ones.

    Returns:
        Infinity for a class without images, which then no image is of with confidence.
    """
    classes = probabilities.shape[1]
    own = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return own_thresholds(own, labels, classes, weights)


def own_thresholds(
    own: Floats, labels: Integers, classes: int, weights: Floats | None = None
) -> npt.NDArray[np.float64]:
    """Return ``thresholds``, given of each image the probability of its label alone."""
    weights = np.ones(len(labels)) if weights is None else weights
    total = np.bincount(labels, weights, classes)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.bincount(labels, weights * own, classes) / total
    return np.where(total > 0, mean, np.inf)


def candidates(probabilities: Floats, least: Floats) -> Candidates:
    """Return the classes of images that are at least as probable as ``least``, shape (classes,)."""
    image, class_index = np.nonzero(probabilities >= least - TOLERANCE)
    probability = probabilities[image, class_index].astype(np.float64)
    order = np.lexsort((class_index, -probability, image))
    return Candidates(len(probabilities), image[order], class_index[order], probability[order])


def confident_classes(found: Candidates, limits: Floats) -> Integers:
    """Return the confident class of each image, shape (n,): ``NONE`` where no limit is reached.

    Args:
        found: Candidates, of least probabilities not above the limits.
        limits: Threshold of each class.
    """
    places = np.flatnonzero(found.probability >= limits[found.class_index] - TOLERANCE)
    image = found.image[places]
    first = np.ones(len(places), dtype=bool)
    first[1:] = image[1:] != image[:-1]
    chosen = np.full(found.images, NONE, dtype=np.int64)
    chosen[image[first]] = found.class_index[places[first]]
    return chosen


def confident_joint(
    probabilities: Floats, labels: Integers, limits: Floats | None = None
) -> npt.NDArray[np.int64]:
    """Return the confident joint: images by label (rows) and confident class (columns).

    Args:
        probabilities: Shape (n, classes), of classifiers that were not trained on the images.
        labels: Given labels, shape (n,).
        limits: Thresholds of the classes; None for those of the images themselves.
    """
    limits = thresholds(probabilities, labels) if limits is None else limits
    chosen = confident_classes(candidates(probabilities, limits), limits)
    sure = chosen != NONE
    classes = probabilities.shape[1]
    pairs = labels[sure] * classes + chosen[sure]
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def estimated_joint(joint: Integers, counts: Integers) -> npt.NDArray[np.float64]:
    """Return the estimated joint distribution of given and true labels: equation 3 of the paper.

    Args:
        joint: The confident joint.
        counts: Images of each label, shape (classes,).

    Returns:
        Shape (classes, classes); the rows of labels with images but without a confident one are
        left out, and the others add up to 1.
    """
    rows = joint.sum(axis=1, keepdims=True)
    scaled = np.divide(joint, rows, out=np.zeros(joint.shape), where=rows > 0) * counts[:, None]
    return scaled / scaled.sum()


def wrong_shares(
    chosen: Integers, labels: Integers, weights: Floats, classes: int
) -> npt.NDArray[np.float64]:
    """Return the estimated share of wrong labels of all images and of each class.

    That is what is off the diagonal of ``estimated_joint``, and of each of its rows.

    Args:
        chosen: Confident classes from ``confident_classes``, shape (n,).
        labels: Given labels, shape (n,).
        weights: Of the images, shape (n,).
        classes: Number of classes.

    Returns:
        Shape (1 + classes,), all images first; NaN for a class without a confident image.
    """
    sure = chosen != NONE
    total = np.bincount(labels, weights * sure, classes)
    wrong = np.bincount(labels, weights * (sure & (chosen != labels)), classes)
    counts = np.bincount(labels, weights, classes) * (total > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = wrong / total
    whole = counts.sum()
    overall = np.nansum(counts * shares) / whole if whole else np.nan
    return np.concatenate([[overall], shares])


def plain_shares(
    flags: npt.NDArray[np.bool_], labels: Integers, weights: Floats, classes: int
) -> npt.NDArray[np.float64]:
    """Return the share of flagged images, of all and of each class: shape (1 + classes,)."""
    counts = np.bincount(labels, weights, classes)
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.bincount(labels, weights * flags, classes) / counts
    return np.concatenate([[(weights * flags).sum() / weights.sum()], shares])

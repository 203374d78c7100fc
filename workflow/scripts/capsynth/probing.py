"""Probes of frozen features: a linear classifier and nearest neighbours on other labels.

Features of a classifier that was trained on one set of classes are asked how well they tell things
that it never saw. Half of the labelled images fit the probe, the other half are answered.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from capsynth.seeding import derive_seed

Floats = npt.NDArray[np.floating]
Integers = npt.NDArray[np.integer]
Booleans = npt.NDArray[np.bool_]

# Weight of the errors against that of the penalty, scikit-learn's default; not tuned on anything.
C = 1.0
# Wu et al., Unsupervised Feature Learning via Non-Parametric Instance Discrimination, CVPR 2018,
# section 3.4, and Caron et al., DINO, ICCV 2021 (arXiv 2104.14294), whose code takes 20 neighbours.
TEMPERATURE = 0.07
NEIGHBOURS = 20


def fitting_half(class_ids: Sequence[str], keys: Sequence[str]) -> Booleans:
    """Return which images fit the probe: half of each class (rounded up), chosen by a hash.

    Args:
        class_ids: Class of every image, n of them.
        keys: Key of every image.
    """
    fits = np.zeros(len(keys), dtype=bool)
    names = np.array(class_ids)
    for class_id in sorted(set(class_ids)):
        members = np.flatnonzero(names == class_id).tolist()
        members.sort(key=lambda i: (derive_seed("probe", class_id, keys[i]), keys[i]))
        fits[members[: (len(members) + 1) // 2]] = True
    return fits


def standardised(train: Floats, *others: Floats) -> list[Floats]:
    """Return features less the mean of ``train``, over its standard deviation, in float64.

    What does not vary in ``train`` is 0 everywhere.
    """
    mean, deviation = train.mean(axis=0, dtype=np.float64), train.std(axis=0, dtype=np.float64)
    varies = deviation > 1e-12 * (np.abs(mean) + 1.0)
    scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=varies)
    return [(x - mean) * scale for x in (train, *others)]


def log_softmax(logits: Floats) -> Floats:
    """Return logarithms of probabilities, shape (n, classes)."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    found: Floats = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return found


def fit_linear(x: Floats, y: Integers, classes: int, c: float = C) -> tuple[Floats, Floats]:
    """Return the weights (classes, dimensions) and intercepts of a logistic regression.

    They have the least c times the summed cross-entropy plus half the squared weights: multinomial
    regression with a Gaussian prior, intercepts without one, as scikit-learn's LogisticRegression
    of three classes or more (with two it has one vector of weights, which is penalised twice as
    much). The problem is convex; L-BFGS runs until the gradient is 1e-7 or less.

    Args:
        x: Features, shape (n, dimensions).
        y: Class indices, shape (n,).
        classes: Number of classes.
        c: Weight of the errors.
    """
    from scipy import optimize

    wanted = np.zeros((len(x), classes))
    wanted[np.arange(len(x)), y] = 1.0

    def loss(flat: Floats) -> tuple[float, Floats]:
        parameters = flat.reshape(classes, -1)
        weights, intercepts = parameters[:, :-1], parameters[:, -1]
        logs = log_softmax(x @ weights.T + intercepts)
        errors = c * (np.exp(logs) - wanted)
        gradient = np.empty_like(parameters)
        gradient[:, :-1] = errors.T @ x + weights
        gradient[:, -1] = errors.sum(axis=0)
        value = -c * (logs * wanted).sum() + 0.5 * (weights**2).sum()
        return float(value), gradient.ravel()

    start = np.zeros(classes * (x.shape[1] + 1))
    options = {"maxiter": 10_000, "maxfun": 20_000, "gtol": 1e-7, "ftol": 0.0}
    found = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options=options)
    parameters = found.x.reshape(classes, -1)
    return parameters[:, :-1], parameters[:, -1]


def linear_probe(train: Floats, y: Integers, test: Floats, classes: int) -> Floats:
    """Return probabilities of ``test`` by a linear probe on standardised features.

    Args:
        train: Features that the probe is fitted to, shape (n, dimensions).
        y: Their class indices, shape (n,).
        test: Features that are answered, shape (m, dimensions).
        classes: Number of classes.

    Returns:
        Shape (m, classes).
    """
    fitted, answered = standardised(train, test)
    weights, intercepts = fit_linear(fitted, y, classes)
    found: Floats = np.exp(log_softmax(answered @ weights.T + intercepts))
    return found


def nearest_neighbours(
    train: Floats,
    y: Integers,
    test: Floats,
    classes: int,
    neighbours: int = NEIGHBOURS,
    temperature: float = TEMPERATURE,
) -> Floats:
    """Return the shares of classes among the nearest neighbours of ``test``, weighted.

    The weight of a neighbour is exp(cosine / temperature) (Wu et al. 2018). Features are taken as
    they are, only their length is set to 1.

    Args:
        train: Features with known classes, shape (n, dimensions).
        y: Their class indices, shape (n,).
        test: Features that are answered, shape (m, dimensions).
        classes: Number of classes.
        neighbours: How many have a say; all where there are fewer.
        temperature: Of the weights.

    Returns:
        Shape (m, classes).
    """
    cosines = _unit(test) @ _unit(train).T
    k = min(neighbours, len(train))
    # Of equal cosines the first images count.
    nearest = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
    near = np.take_along_axis(cosines, nearest, axis=1)
    weights = np.exp((near - near[:, :1]) / temperature)
    votes = np.zeros((len(test), classes))
    for place in range(k):
        votes[np.arange(len(test)), y[nearest[:, place]]] += weights[:, place]
    found: Floats = votes / votes.sum(axis=1, keepdims=True)
    return found


def _unit(x: Floats) -> Floats:
    wide = x.astype(np.float64)
    length = np.linalg.norm(wide, axis=1, keepdims=True)
    found: Floats = wide / np.where(length > 0.0, length, 1.0)
    return found


# By the name that their rows carry.
PROBES: dict[str, Callable[[Floats, Integers, Floats, int], Floats]] = {
    "linear": linear_probe,
    "knn": nearest_neighbours,
}

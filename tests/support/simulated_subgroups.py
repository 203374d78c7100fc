"""Simulated evaluations with a known worst class and AUROC: how often intervals cover them.

``python tests/support/simulated_subgroups.py 400`` prints the tables of docs/evaluation-sets.md.
"""

import argparse
from functools import partial

import numpy as np

from capsynth import minima, novelty, statistics

Floats = np.ndarray
DRAWS = 300


def accuracies(name: str) -> Floats:
    """Return the true accuracies of the classes of a world."""
    return {
        "10 classes, equal": np.full(10, 0.7),
        "10 classes, 40 to 95 %": np.linspace(0.4, 0.95, 10),
        "one of 10 far below": np.array([0.3] + [0.8] * 9),
        "100 classes, equal": np.full(100, 0.7),
        "10 classes at 97 %": np.full(10, 0.97),
    }[name]


def weights_of(groups: int, images: int, rng: np.random.Generator) -> Floats:
    """Return draws of images as ``statistics`` makes them: shape (draws, groups, images)."""
    counts = rng.multinomial(images - 1, np.full(images, 1 / images), size=(DRAWS, groups))
    return counts / (images - 1)


def worst_class(name: str, images: int, repetitions: int) -> list[float]:
    """Return how often three intervals cover the worst class in percent, and their widths.

    Three seeds. An image's ease is two thirds its own, a third the run's; a seed moves the accuracy
    of every class by 3 points.

    Returns:
        Coverage and mean width of: the interval of ``minima``; mean and t interval of every seed's
        minimum; percentiles of the minimum of every draw.
    """
    truth = accuracies(name)
    rng = np.random.default_rng(0)
    covered, width = np.zeros(3), np.zeros(3)
    df = np.full(len(truth), images - 1)
    for _ in range(repetitions):
        moved = truth + np.minimum(0.03, 1 - truth) * rng.choice([-1, 1], size=(3, len(truth)))
        shape = (len(truth), images)
        common, own = rng.random(shape), rng.random((3, *shape))
        luck = np.where(rng.random(shape) < 2 / 3, common, own)
        right = (luck < moved[..., None]).astype(float)
        weights = weights_of(len(truth), images, rng)
        values, drawn = right.mean(axis=2), np.einsum("sgn,dgn->sdg", right, weights)
        bounds = partial(minima.group_bounds, values, drawn, df)
        found = minima.worst(values.mean(axis=0), bounds)
        least = statistics.estimate(
            values.min(axis=1)[:, None], drawn.min(axis=2)[..., None], int(df.sum())
        )
        low, high = np.quantile(drawn.mean(axis=0).min(axis=1), [0.025, 0.975])
        ends = np.array([(found.low, found.high), (least.low[0], least.high[0]), (low, high)])
        covered += (ends[:, 0] <= truth.min()) & (truth.min() <= ends[:, 1])
        width += ends[:, 1] - ends[:, 0]
    return [*(100 * covered / repetitions), *(100 * width / repetitions)]


def areas(apart: Floats, ratio: float) -> tuple[float, float]:
    """Return the areas under precision and recall of two normal scores, means over distances.

    Args:
        apart: How far the scores of images of the classes lie above the others.
        ratio: Unknown images for each image of a class.
    """
    from scipy import stats

    middles = (np.arange(1000) + 0.5) / 1000
    # At the score that a share of the positives is above, how many negatives are for each.
    inside = stats.norm.isf(middles) + apart[:, None]
    outside = stats.norm.ppf(middles)
    known = middles / (middles + ratio * stats.norm.sf(inside))
    unknown = middles / (middles + stats.norm.cdf(outside - apart[:, None]) / ratio)
    return float(known.mean()), float(unknown.mean())


def separation(inside: int, outside: int, distance: float, repetitions: int) -> list[float]:
    """Return how often intervals cover ``novelty.METRICS`` in percent; normal scores, three seeds.

    A score is a normal number of the image, one of image and run, and one of the run.
    """
    from scipy import stats

    rng = np.random.default_rng(1)
    # Of seeds' distances, whose standard deviation is 0.1, the mean over many.
    apart = distance + 0.1 * np.random.default_rng(2).standard_normal(100_000)
    truth = np.array(
        [
            stats.norm.cdf(apart / np.sqrt(2)).mean(),
            stats.norm.sf(stats.norm.ppf(0.05) + apart).mean(),
            *areas(apart[:1000], outside / inside),
        ]
    )
    covered = np.zeros(len(truth))
    for _ in range(repetitions):
        found = [
            np.sqrt(0.7) * rng.standard_normal(n) + np.sqrt(0.3) * rng.standard_normal((3, n))
            for n in (inside, outside)
        ]
        found[0] = found[0] + distance + 0.1 * rng.standard_normal((3, 1))
        weights = [weights_of(1, n, rng)[:, 0] for n in (inside, outside)]
        ones = [np.ones((1, n)) for n in (inside, outside)]
        runs = [novelty.Separation.of(*scores) for scores in zip(*found, strict=True)]
        values = np.concatenate([run.metrics(*ones) for run in runs])
        drawn = np.stack([run.metrics(*weights) for run in runs])
        one = statistics.estimate(values, drawn, min(inside, outside) - 1)
        covered += (one.low <= truth) & (truth <= one.high)
    return list(100 * covered / repetitions)


def main(argv: list[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("repetitions", type=int)
    repetitions = parser.parse_args(argv).repetitions
    for sizes in ((400, 400, 1.0), (400, 400, 2.0), (100, 100, 1.0), (2000, 500, 1.0)):
        shares = " | ".join(f"{x:.1f}" for x in separation(*sizes, repetitions))
        print(f"| {sizes[0]} and {sizes[1]}, {sizes[2]:g} apart | {shares} |", flush=True)
    for name, images in (
        ("10 classes, equal", 40),
        ("10 classes, equal", 500),
        ("10 classes, 40 to 95 %", 40),
        ("one of 10 far below", 40),
        ("10 classes at 97 %", 40),
        ("100 classes, equal", 50),
    ):
        cells = " | ".join(f"{x:.1f}" for x in worst_class(name, images, repetitions))
        print(f"| {name}, {images} images | {cells} |", flush=True)


if __name__ == "__main__":
    main()

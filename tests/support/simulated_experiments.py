"""Simulated experiments with a known truth, and how often intervals and tests are right on them.

The long version, behind the table of docs/statistics.md:

    PYTHONPATH=workflow/scripts:tests/support python tests/support/simulated_experiments.py 4000
"""

import argparse
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from capsynth import statistics

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True)
class World:
    """Two training sets, a and b, whose runs answer the same images.

    The logit of a right answer is the ease of the image's class, plus normal effects: of the
    image, of the image for a training set and for a run, of the seed (shared by both training
    sets: their runs are paired), of the run, and of the run for a class.

    Attributes:
        classes: Number of classes.
        images: Images a class.
        seeds: Training seeds.
        ease: Mean logit of a right answer over the classes, which differ by 1 (sd).
        effect: What training set a adds to the logit; it varies over classes by half of it.
        image: Standard deviation of images within their class.
        idiosyncrasy: Of an image for a training set, and of an image for a run.
        seed: Of runs; that of their common seed and of a run for a class are half of it.
        generation: Of generation seeds of a training set.
        generations: Generation seeds; with more than one, each is trained with every seed.
    """

    classes: int = 10
    images: int = 50
    seeds: int = 3
    ease: float = 1.0
    effect: float = 0.4
    image: float = 1.0
    idiosyncrasy: float = 0.7
    seed: float = 0.1
    generation: float = 0.0
    generations: int = 1

    def class_logits(self) -> Floats:
        """Return the mean logit of each training set and class: shape (2, classes)."""
        spread = special.ndtri((np.arange(self.classes) + 0.5) / self.classes)
        gains = self.effect * (1.0 + 0.5 * spread[::-1])
        return self.ease + spread + np.stack([gains, np.zeros(self.classes)])

    def truth(self) -> Floats:
        """Return the accuracies over all images and seeds: shape (2,)."""
        variance = (
            self.image**2 + 2 * self.idiosyncrasy**2 + 1.5 * self.seed**2 + self.generation**2
        )
        nodes, weights = np.polynomial.hermite_e.hermegauss(61)
        logits = self.class_logits()[..., None] + np.sqrt(variance) * nodes
        return (special.expit(logits) @ weights / weights.sum()).mean(axis=1)

    def answers(self, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
        """Return right answers, shape (2, generations, seeds, classes * images)."""
        shape = (2, self.generations, self.seeds, self.classes, self.images)
        sizes = {
            self.image: (1, 1, 1, *shape[3:]),
            self.generation: (*shape[:2], 1, 1, 1),
        }
        logits = self.class_logits()[:, None, None, :, None] + sum(
            scale * rng.normal(size=size) for scale, size in sizes.items() if scale
        )
        logits = logits + self.idiosyncrasy * rng.normal(size=(2, 1, 1, *shape[3:]))
        logits = logits + self.idiosyncrasy * rng.normal(size=shape)
        logits = logits + self.seed * rng.normal(size=(*shape[:3], 1, 1))
        for size in ((1, 1, self.seeds, 1, 1), (*shape[:4], 1)):
            logits = logits + self.seed / 2 * rng.normal(size=size)
        return (rng.random(shape) < special.expit(logits)).reshape(*shape[:3], -1)


@dataclass(frozen=True)
class Rates:
    """Shares of the repetitions.

    Attributes:
        accuracy: The interval of a's accuracy covers the truth.
        difference: The interval of a - b covers the truth.
        percentile: So does the percentile interval of resampled images and seeds.
        rejected: The p value of a - b is at most 0.05.
        rejected_images: So is the p value of the sign-flip test on images.
        width: Mean width of the interval of a - b over that of the percentile interval.
    """

    accuracy: float
    difference: float
    percentile: float
    rejected: float
    rejected_images: float
    width: float


def rates(world: World, repetitions: int, draws: int = 1000, seed: int = 0) -> Rates:
    """Simulate ``repetitions`` experiments and measure them as ``collect_scores`` does."""
    n = world.classes * world.images
    design = statistics.image_design(
        np.repeat(np.arange(world.classes), world.images).astype(str).tolist(),
        [str(i) for i in range(n)],
    )
    # One draw of images serves all repetitions: it does not depend on the answers.
    weights = np.concatenate(list(statistics.image_weights(design, draws, seed))) / n
    df = statistics.image_df(design, np.arange(n))
    rng = np.random.default_rng(seed)
    units = world.seeds if world.generations == 1 else world.generations
    truth = world.truth()
    found = np.zeros((repetitions, 6))
    for row in found:
        right = world.answers(rng).mean(axis=1 if world.generations == 1 else 2)
        values = right.mean(axis=2)[..., None]
        replicates = (right @ weights.T)[..., None]
        accuracy = statistics.estimate(values[0], replicates[0], df)
        difference = statistics.estimate(values[0] - values[1], replicates[0] - replicates[1], df)
        chosen = rng.integers(units, size=(max(1, units - 1), draws))
        low, high = statistics.interval(
            (replicates[0] - replicates[1])[chosen, np.arange(draws)].mean(axis=0)
        )
        flips = np.rint((right[0] - right[1]).sum(axis=0) * world.seeds * world.generations)
        row[:] = (
            accuracy.low[0] <= truth[0] <= accuracy.high[0],
            difference.low[0] <= truth[0] - truth[1] <= difference.high[0],
            low[0] <= truth[0] - truth[1] <= high[0],
            difference.p_value[0] <= 0.05,
            statistics.sign_flip_p_value(flips.astype(int)) <= 0.05,
            (difference.high[0] - difference.low[0]) / (high[0] - low[0]),
        )
    return Rates(*found.mean(axis=0).tolist())


def rejections(world: World, repetitions: int, draws: int = 1000, seed: int = 0) -> float:
    """Return how often the p value of a - b is at most 0.05, in many experiments at once."""
    n = world.classes * world.images
    classes = np.repeat(np.arange(world.classes), world.images).astype(str).tolist()
    design = statistics.image_design(classes, [str(i) for i in range(n)])
    weights = np.concatenate(list(statistics.image_weights(design, draws, seed))) / n
    df = statistics.image_df(design, np.arange(n))
    rng = np.random.default_rng(seed)
    rejected = 0
    for start in range(0, repetitions, 100):
        # Experiments take the place of metrics: (units, experiments, images).
        answers = [world.answers(rng) for _ in range(min(100, repetitions - start))]
        right = np.stack([one.mean(axis=1 if world.generations == 1 else 2) for one in answers], 2)
        gains = right[0] - right[1]
        found = statistics.estimate(gains.mean(axis=2), np.moveaxis(gains @ weights.T, 2, 1), df)
        rejected += int((found.p_value <= 0.05).sum())
    return rejected / repetitions


def idealised_rates(share: float, seeds: int, repetitions: int, seed: int = 0) -> dict[str, float]:
    """Return how often 95 % intervals cover a mean whose variance from images is known.

    Args:
        share: Of the variance of the mean that is the seeds', from 0 to 1.
        seeds: Training seeds.
        repetitions: Experiments.
        seed: Of the simulation.
    """
    rng = np.random.default_rng(seed)
    values = np.sqrt(1.0 - share) * rng.standard_normal(repetitions) + np.sqrt(
        share * seeds
    ) * rng.standard_normal((seeds, repetitions))
    # Two draws at this distance have the variance of the images; it is the same for all seeds.
    draws = values[:, None] + np.sqrt((1.0 - share) / 2.0) * np.array([1.0, -1.0])[:, None]
    found = statistics.estimate(values, draws, 1_000_000)
    between = values.var(axis=0, ddof=1) / seeds
    variance = between + 1.0 - share
    squared = stats.t.ppf(0.975, (seeds - 1) * (variance / np.maximum(between, 1e-12)) ** 2)
    t, z = stats.t.ppf(0.975, seeds - 1), stats.norm.ppf(0.975)
    of_t_values = (t * between + z * (1.0 - share)) / variance
    distance = np.abs(values.mean(axis=0)) / np.sqrt(variance)
    return {
        "shares squared (Satterthwaite)": float(np.mean(distance <= squared)),
        "shares (used here)": float(np.mean((found.low <= 0.0) & (found.high >= 0.0))),
        "mean of t values (Cochran and Cox)": float(np.mean(distance <= of_t_values)),
    }


IDEALISED_SHARES = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.95, 1.0)
WORLDS: dict[str, World] = {
    "no seed variance": World(seed=0.0),
    "little seed variance": World(),
    "as much from seeds as from images": World(seed=0.2),
    "mostly seeds": World(seed=0.6),
    "5 seeds": World(seed=0.2, seeds=5),
    "2 seeds": World(seed=0.2, seeds=2),
    "1 seed, no seed variance": World(seed=0.0, seeds=1),
    "accuracy near 97 %": World(ease=5.0, seed=0.3),
    "10 images a class": World(images=10, seed=0.2),
    "3 generation seeds of 3 training seeds": World(seed=0.2, generation=0.2, generations=3),
}


def main(argv: list[str] | None = None) -> None:
    """Print the tables of docs/statistics.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("repetitions", type=int)
    repetitions = parser.parse_args(argv).repetitions
    for name, world in WORLDS.items():
        some, none = rates(world, repetitions), rates(replace(world, effect=0.0), repetitions)
        cells = (
            some.accuracy, some.difference, none.rejected, some.rejected,
            some.percentile, none.rejected_images,
        )  # fmt: skip
        shares = " | ".join(f"{100 * share:.1f}" for share in cells)
        print(f"| {name} | {shares} | {some.width:.2f} |", flush=True)
    columns = [idealised_rates(share, 3, 50 * repetitions) for share in IDEALISED_SHARES]
    for name in columns[0]:
        print(f"| {name} | {' | '.join(f'{100 * column[name]:.1f}' for column in columns)} |")


if __name__ == "__main__":
    main()

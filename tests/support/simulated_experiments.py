"""Simulated experiments with a known truth, and how often intervals and tests are right on them.

``make simulate`` prints the tables of docs/statistics.md; it takes most of an hour:

    PYTHONPATH=workflow/scripts:tests/support python tests/support/simulated_experiments.py 2000
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

from capsynth import intervals, proportions, statistics

Floats = npt.NDArray[np.floating]

FAMILY = 18
BATCH = 50
# With more images than this, sums are drawn from the normal distribution that they have.
MOST_DRAWN = 10_000


@dataclass(frozen=True)
class World:
    """Training sets without a difference, whose runs answer the same images.

    The logit of a right answer is the ease of the image's class, plus normal effects: of the
    image, of the image for a training set, of the image for a run, of the run, and of its seed.

    Attributes:
        sizes: Images of each class.
        seeds: Training seeds.
        accuracy: The mean over images and seeds, had runs no effect.
        ratio: Variance of accuracy between seeds over that from the images of one run.
        training_sets: How many share what they show of their seeds.
        spread: Standard deviation of the classes' ease.
        image: Standard deviation of images within their class.
        idiosyncrasy: Of an image for a training set, and of an image for a run.
        common: Share of the variance between seeds that training sets have in common.
        noise: How many times as much as ``ratio`` says training sets vary between seeds (as
            standard deviation), in turn.
        versions: Samples of each image, with the same ease.
    """

    sizes: tuple[int, ...] = (40,) * 10
    seeds: int = 3
    accuracy: float = 0.7
    ratio: float = 1.0
    training_sets: int = 6
    spread: float = 1.0
    image: float = 1.0
    idiosyncrasy: float = 0.7
    common: float = 0.0
    noise: tuple[float, ...] = (1.0,)
    versions: int = 1

    @property
    def images(self) -> int:
        """Number of images."""
        return sum(self.sizes)

    @cached_property
    def shares(self) -> Floats:
        """Share of the images that each class has."""
        return np.array(self.sizes) / self.images

    def means(self, effects: Floats, ease: float | None = None) -> Floats:
        """Return the accuracy on each class of runs with these effects: (..., classes)."""
        classes = np.arange(len(self.sizes))
        logits = self.ease if ease is None else ease
        logits = logits + self.spread * special.ndtri((classes + 0.5) / len(classes))
        scale = np.sqrt(self.image**2 + 2 * self.idiosyncrasy**2)
        nodes, weights = np.polynomial.hermite_e.hermegauss(41)
        at = logits[:, None] + scale * nodes + np.asarray(effects)[..., None, None]
        means: Floats = special.expit(at) @ (weights / weights.sum())
        return means

    @cached_property
    def ease(self) -> float:
        """Mean logit over the classes."""
        return float(
            optimize.brentq(
                lambda ease: self.means(np.zeros(()), ease) @ self.shares - self.accuracy, -20, 20
            )
        )

    @cached_property
    def scales(self) -> Floats:
        """Standard deviation of the effect of runs, for each training set."""
        of_classes = self.means(np.zeros(()))
        units = self.images  # versions of an image add little
        of_images = (of_classes * (1 - of_classes)) @ self.shares / units
        slope = (self.means(np.array(1e-4)) - self.means(np.array(-1e-4))) @ self.shares / 2e-4
        scale = np.sqrt(self.ratio * of_images) / slope
        scales: Floats = scale * np.resize(self.noise, self.training_sets)
        return scales

    def truth(self) -> Floats:
        """Return the accuracy of each training set over all images and seeds."""
        nodes, weights = np.polynomial.hermite_e.hermegauss(41)
        effects = self.scales[:, None] * nodes
        truth: Floats = self.means(effects) @ self.shares @ (weights / weights.sum())
        return truth

    def effects(self, experiments: int, rng: np.random.Generator) -> Floats:
        """Return effects of runs: shape (training sets, seeds, experiments)."""
        own = rng.normal(size=(self.training_sets, self.seeds, experiments))
        alike = rng.normal(size=(1, self.seeds, experiments))
        both = np.sqrt(1 - self.common) * own + np.sqrt(self.common) * alike
        return self.scales[:, None, None] * both


@dataclass(frozen=True, eq=False)
class Shown:
    """What a batch of experiments shows; experiments take the place of metrics.

    Attributes:
        sets: Of each training set.
        pairs: Of differences of one training set and the next.
        truth: Accuracy of each training set that intervals should cover: shape (training sets,
            experiments).
        samples: Samples of the evaluation set.
    """

    sets: list[intervals.Spread]
    pairs: list[intervals.Spread]
    truth: Floats
    samples: int


def draw(world: World, experiments: int, rng: np.random.Generator) -> Shown:
    """Simulate experiments: image by image, or sums of very many images."""
    effects = world.effects(experiments, rng)
    if world.seeds == 1:  # what one run shows is about this run
        truth = world.means(effects[:, 0]) @ world.shares
    else:
        truth = np.repeat(world.truth()[:, None], experiments, axis=1)
    of = _of_sums if world.images > MOST_DRAWN else _of_images
    sets, pairs = of(world, effects, rng)
    return Shown(sets, pairs, truth, world.images * world.versions)


def _of_images(
    world: World, effects: Floats, rng: np.random.Generator
) -> tuple[list[intervals.Spread], list[intervals.Spread]]:
    classes = np.repeat(np.arange(len(world.sizes)), world.sizes)
    of_sample = np.repeat(np.arange(world.images), world.versions)
    design = statistics.image_design(
        classes[of_sample].astype(str).tolist(), of_sample.astype(str).tolist()
    )
    layout = proportions.layout_of(design, np.arange(len(of_sample)))
    shape = (effects.shape[2], world.images)
    logits = world.ease + world.spread * special.ndtri((classes + 0.5) / len(world.sizes))
    logits = logits + world.image * rng.normal(size=shape)
    answers = []
    for of_set in effects:
        at = logits + world.idiosyncrasy * rng.normal(size=shape)
        at = at + world.idiosyncrasy * rng.normal(size=(len(of_set), *shape)) + of_set[..., None]
        right = special.expit(at)[..., of_sample]
        answers.append((rng.random(right.shape) < right).astype(np.float64)[..., layout.rows])
    return (
        [proportions.spread_of_shares(layout, one) for one in answers],
        [
            proportions.spread_of_differences(layout, first - second)
            for first, second in zip(answers[::2], answers[1::2], strict=False)
        ],
    )


def _of_sums(
    world: World, effects: Floats, rng: np.random.Generator
) -> tuple[list[intervals.Spread], list[intervals.Spread]]:
    """Return what sums of very many images show: means are normal, variances of images known.

    The covariance of two runs' means is that of their chances of a right answer over images, which
    quadrature over the ease of images gives; of an image for a run or a training set there is no
    effect of its own.
    """
    sets, seeds, experiments = effects.shape
    runs = sets * seeds
    nodes, weights = np.polynomial.hermite_e.hermegauss(15)
    weights = weights / weights.sum()
    scale = np.sqrt(world.image**2 + 2 * world.idiosyncrasy**2)
    places = (np.arange(len(world.sizes)) + 0.5) / len(world.sizes)
    at = (world.ease + world.spread * special.ndtri(places))[:, None] + scale * nodes
    # Shape (experiments, runs, classes, nodes).
    chance = special.expit(at + effects.reshape(runs, experiments).T[..., None, None])
    of_classes = chance @ weights
    together = np.einsum("eick,ejck,c,k->eij", chance, chance, world.shares, weights, optimize=True)
    apart = np.einsum("eic,ejc,c->eij", of_classes, of_classes, world.shares, optimize=True)
    covariance = together - apart
    place = np.arange(runs)
    covariance[:, place, place] = (of_classes * (1 - of_classes)) @ world.shares
    covariance /= world.images
    roots = np.linalg.cholesky(covariance)
    means = of_classes @ world.shares
    means = means + np.einsum("eij,ej->ei", roots, rng.normal(size=(experiments, runs)))

    def spread(values: Floats, matrix: Floats, least: float) -> intervals.Spread:
        of_images = matrix.mean(axis=(1, 2))
        single = np.trace(matrix, axis1=1, axis2=2) / seeds
        own = (single - of_images) * seeds / max(1, seeds - 1)
        return intervals.Spread(
            values.mean(axis=1), seeds, of_images + least, own, single + least,
            values.var(axis=1, ddof=1) if seeds > 1 else np.zeros(experiments),
            np.full(experiments, np.inf),
        )  # fmt: skip

    parts = [slice(i * seeds, (i + 1) * seeds) for i in range(sets)]
    least = world.images**-2.0
    found = [spread(means[:, part], covariance[:, part, part], least) for part in parts]
    pairs = []
    for one, other in zip(parts[::2], parts[1::2], strict=False):
        across = covariance[:, one, other]
        matrix = covariance[:, one, one] + covariance[:, other, other]
        matrix = matrix - across - across.transpose(0, 2, 1)
        pairs.append(spread(means[:, one] - means[:, other], matrix, 0.0))
    return found, pairs


@dataclass(frozen=True)
class Rates:
    """Shares of the experiments, or of their pairs of training sets.

    Attributes:
        accuracy: The interval of the first training set's accuracy covers the truth.
        difference: The interval of a difference covers the truth.
        rejected: The p value of a difference is below 0.05; with one seed there is none.
        family: Some p value of 18 independent comparisons is below 0.05 after Holm's correction.
        tests: How many tests the last two are of.
        width: Mean width of the interval of accuracy.
        width_of_difference: Mean width of the interval of a difference.
    """

    accuracy: float
    difference: float
    rejected: float
    family: float
    tests: int
    width: float
    width_of_difference: float


def rates(world: World, repetitions: int, seed: int = 0) -> Rates:
    """Simulate experiments and measure them as ``collect_scores`` does."""
    rng = np.random.default_rng(seed)
    of_sets, of_pairs = [], []
    for start in range(0, repetitions, BATCH):
        shown = draw(world, min(BATCH, repetitions - start), rng)
        shared = intervals.moderated(shown.sets)
        found = intervals.estimate_of(shown.sets[0], shared[0])
        sizes = np.full(len(found.value), shown.samples)
        low, high = proportions.score_interval(found, sizes)
        truth = shown.truth[0]
        of_sets.append(np.stack([(low <= truth) & (truth <= high), high - low]))
        for i, pair in enumerate(shown.pairs):
            one, other = 2 * i, 2 * i + 1
            sides = (shown.sets[one], shown.sets[other])
            gain = intervals.difference_of(pair, sides, (shared[one], shared[other]))
            truth = shown.truth[one] - shown.truth[other]
            covered = (gain.low <= truth) & (truth <= gain.high)
            # What p says: where the interval at that level leaves 0 out (a test asserts it).
            p_below = [gain.value**2 > gain.half_squared(p / 2) for p in (0.05, 0.05 / FAMILY)]
            of_pairs.append(np.stack([covered, *p_below, gain.high - gain.low]))
    covered, width = np.concatenate(of_sets, axis=1).mean(axis=1)
    if not of_pairs:
        return Rates(covered, np.nan, np.nan, np.nan, 0, width, np.nan)
    pairs = np.concatenate(of_pairs, axis=1)
    difference, rejected, in_tail, width_of_difference = pairs.mean(axis=1)
    family = 1.0 - (1.0 - in_tail) ** FAMILY
    if world.seeds == 1:
        rejected = family = np.nan
    return Rates(
        covered, difference, rejected, family, pairs.shape[1], width, width_of_difference
    )  # fmt: skip


SEEDS = (1, 2, 3, 5, 7)
RATIOS = {"no": 0.0, "little": 0.25, "equal": 1.0, "strong": 4.0}
LARGE = World(sizes=(5000,) * 10)
# Training sets that differ in how much their seeds vary: variances of 4 and 1/4, or 4 and 1. Pairs
# of the first are one of each kind; those of the second two noisy ones, one of each, two quiet
# ones.
UNEQUAL = {
    "noise 2, ½, 2, ½, 2, ½": (2.0, 0.5),
    "noise 2, 2, 2, ½, ½, ½": (2.0, 2.0, 2.0, 0.5, 0.5, 0.5),
    "noise 2, 1, 1, 1, 1, 1": (2.0, 1.0, 1.0, 1.0, 1.0, 1.0),
}
WORLDS: dict[str, World] = {
    "accuracy 0.01": World(accuracy=0.01),
    "accuracy 0.99": World(accuracy=0.99),
    "accuracy 0.01, 50,000 images": replace(LARGE, accuracy=0.01),
    "accuracy 0.99, 50,000 images": replace(LARGE, accuracy=0.99),
    "40 classes of 2 images": World(sizes=(2,) * 40),
    "classes of 2 to 120 images": World(sizes=(2, 5, 10, 20, 40, 80, 120, 123)),
    "5 versions of each image": World(versions=5),
    "2 training sets": World(training_sets=2),
    "2 training sets, no seed variance": World(training_sets=2, ratio=0.0),
    "1 training set": World(training_sets=1),
    "1 training set, no seed variance": World(training_sets=1, ratio=0.0),
    "seeds have half their variance in common": World(common=0.5),
} | {name: World(noise=noise) for name, noise in UNEQUAL.items()}


def interval_table(repetitions: int) -> Iterator[str]:
    """Yield the lines of the table of coverage by images, seed variance and seeds."""
    yield "| images | seed variance | seeds | accuracy | difference | widths (points) |"
    for base, images in ((World(), "400"), (LARGE, "50,000")):
        for name, ratio in RATIOS.items():
            for seeds in SEEDS:
                found = rates(replace(base, ratio=ratio, seeds=seeds), repetitions)
                yield _line(f"{images} | {name} | {seeds}", found)


def world_table(repetitions: int) -> Iterator[str]:
    """Yield the lines of the table of coverage at the edges and in other worlds."""
    yield "| world | seeds | accuracy | difference | widths (points) |"
    for name, world in WORLDS.items():
        for seeds in (1, 2, 3, 5):
            yield _line(f"{name} | {seeds}", rates(replace(world, seeds=seeds), repetitions))


def family_table(repetitions: int) -> Iterator[str]:
    """Yield the lines of the table of tests, of which there are three an experiment."""
    yield "| world | seeds | tests | rejected | family of 18 |"
    worlds = {f"{name} seed variance": replace(LARGE, ratio=r) for name, r in RATIOS.items()}
    worlds |= {name: replace(LARGE, noise=noise) for name, noise in UNEQUAL.items()}
    worlds["2 training sets"] = replace(LARGE, training_sets=2)
    worlds["400 images"] = World()
    worlds["accuracy 0.99, 400 images"] = World(accuracy=0.99)
    for name, world in worlds.items():
        for seeds in (2, 3, 5):
            times = 6 if world.training_sets == 2 else 2
            found = rates(replace(world, seeds=seeds), times * repetitions, seed=1)
            yield (
                f"| {name} | {seeds} | {found.tests:,} | {100 * found.rejected:.1f} "
                f"| {100 * found.family:.1f} |"
            )


TABLES = {"intervals": interval_table, "worlds": world_table, "families": family_table}


def _line(name: str, found: Rates) -> str:
    def percent(share: float, digits: int = 1) -> str:
        return "\N{EN DASH}" if np.isnan(share) else f"{100 * share:.{digits}f}"

    widths = f"{percent(found.width, 2)}, {percent(found.width_of_difference, 2)}"
    return f"| {name} | {percent(found.accuracy)} | {percent(found.difference)} | {widths} |"


def main(argv: list[str] | None = None) -> None:
    """Print the tables of docs/statistics.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("repetitions", type=int)
    parser.add_argument("--only", nargs="+", choices=TABLES, default=list(TABLES))
    args = parser.parse_args(argv)
    for name in args.only:
        for line in TABLES[name](args.repetitions):
            print(line, flush=True)


if __name__ == "__main__":
    main()

"""Attacks on the models of one training set: from their stored answers to metrics and ROC curves.

Which images are members and which are not is a member definition:

- ``real``: the real images that the training set holds or descends from, against the held-out
  evaluation set. A training set that uses no real image is attacked with all of them, as a control.
- ``synthetic``: the images that were drawn for it, against those of twin variants.
- ``real-half``, ``synthetic-half``: what is attacked are reference models, each with the half of
  those images that it was trained on as members and the other half as non-members.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from capsynth.errors import CapsynthError
from capsynth.predictions import read_predictions
from capsynth.privacy import attacks, roc
from capsynth.privacy.references import (
    Answers,
    Source,
    in_reference_half,
    lira_offline,
    lira_online,
    reference_half,
    reference_source,
    rmia_offline,
    rmia_online,
    two_sides,
)
from capsynth.seeding import derive_seed
from capsynth.shards import ShardRecord, read_manifest, usable
from capsynth.shares import Share, take_share
from capsynth.statistics import image_design, image_df

Floats = npt.NDArray[np.floating]
Integers = npt.NDArray[np.integer]
Booleans = npt.NDArray[np.bool_]
Strings = npt.NDArray[np.str_]

REAL = "real"
SYNTHETIC = "synthetic"
HALF = "-half"
DEFINITIONS = (REAL, SYNTHETIC, REAL + HALF, SYNTHETIC + HALF)

PAPER = "paper"
REFERENCE_ATTACKS = ("lira-offline", "lira-online", "rmia-offline", "rmia-online")
ATTACKS = (PAPER, *attacks.SCORES, *REFERENCE_ATTACKS)
WITHOUT_LEAK = "best_accuracy_without_leak"

# What LiRA looks at: scaled_confidence.
SCALED = "scaled"
# Images whose scores are computed at once: 80 MB of a thousand classes.
ROWS = 10_000
# False-positive rates of a stored curve: 20 a decade, down to one in ten thousand.
CURVE_FPRS = 10.0 ** (np.arange(-80, 1) / 20)


@dataclass(frozen=True, eq=False)
class Images:
    """What models say of ``n`` images; every array has n entries in its last place.

    Attributes:
        sources: Key of the real image that each is or descends from, else its own: with the class
            it decides which images are drawn together, and who was trained on which half.
        class_ids: Their classes.
        attacked: Scores of the attacked models by name, shape (models, n) each.
        references: Those of the reference models, shape (references, n) each.
        seen: Whether each reference model has the source in its half, shape (references, n).
    """

    sources: Strings
    class_ids: Strings
    attacked: Mapping[str, Floats]
    references: Mapping[str, Floats]
    seen: Booleans

    def __len__(self) -> int:
        return len(self.sources)

    def take(self, rows: Integers | Booleans) -> "Images":
        """Return some of the images."""
        return Images(
            self.sources[rows],
            self.class_ids[rows],
            {name: values[:, rows] for name, values in self.attacked.items()},
            {name: values[:, rows] for name, values in self.references.items()},
            self.seen[:, rows],
        )


def join(parts: Sequence[Images]) -> Images:
    """Return the images of all parts, answered by the same models."""
    first = parts[0]
    return Images(
        np.concatenate([part.sources for part in parts]),
        np.concatenate([part.class_ids for part in parts]),
        {k: np.concatenate([part.attacked[k] for part in parts], axis=1) for k in first.attacked},
        {
            k: np.concatenate([part.references[k] for part in parts], axis=1)
            for k in first.references
        },
        np.concatenate([part.seen for part in parts], axis=1),
    )


@dataclass(frozen=True, eq=False)
class Attack:
    """One attack under one member definition.

    Attributes:
        definition: Who the members are.
        name: Of the attack.
        found: Its metrics over the attacked models.
        members: Number of members; of halves their mean over models.
        nonmembers: Number of non-members.
        curves: TPR of each model at ``CURVE_FPRS``, shape (models, rates); not a number where
            there are too few non-members to tell.
    """

    definition: str
    name: str
    found: roc.Estimates
    members: int
    nonmembers: int
    curves: Floats

    @property
    def models(self) -> int:
        """How many models were attacked."""
        return len(self.curves)


class Halves:
    """Which images of a training set its reference models saw.

    Attributes:
        numbers: Of the reference models.
    """

    def __init__(self, sources: Collection[Source], numbers: Sequence[int]) -> None:
        """Take the sources of all images of the training set, and the models' numbers."""
        self.numbers = numbers
        self._known = frozenset(sources)
        self._halves = {number: reference_half(self._known, number) for number in numbers}

    def seen(self, sources: Sequence[Source]) -> Booleans:
        """Return who saw which of n images, or would have seen it: shape (references, n)."""
        rows = [
            [
                source in half if source in self._known else in_reference_half(source[1], number)
                for source in sources
            ]
            for number, half in self._halves.items()
        ]
        return np.array(rows, dtype=bool).reshape(len(self.numbers), len(sources))


def read_images(
    attacked: Sequence[Path],
    references: Sequence[Path],
    halves: Halves,
    sources: Mapping[Source, str] | None = None,
) -> Images:
    """Read what models answered about one set of images.

    Args:
        attacked: Predictions of the attacked models.
        references: Those of the reference models, in the order of ``halves``.
        halves: What the reference models saw.
        sources: Key of the real image of each image that counts, by class and key; other images are
            left out. None for all images, each its own source.

    Raises:
        CapsynthError: If there is no file, or the models answered different images.
    """
    paths = [*attacked, *references]
    if not paths:
        raise CapsynthError("no predictions of a set of images; evaluate the models on it")
    first = read_predictions(paths[0])
    keys, class_ids = first.keys, first.sample_class_ids
    scores = []
    for path in paths:
        one = read_predictions(path)
        if not (np.array_equal(one.keys, keys) and np.array_equal(one.sample_class_ids, class_ids)):
            raise CapsynthError(f"{path}: other images than in {paths[0]}; evaluate both again")
        scores.append(_scores(one.probabilities, one.target))
    models, others = scores[: len(attacked)], scores[len(attacked) :]
    if sources is not None:
        names = zip(class_ids.tolist(), keys.tolist(), strict=True)
        keys = np.array([sources.get(name, "") for name in names])
    images = Images(
        keys,
        class_ids,
        {name: _stack([model[name] for model in models], len(keys)) for name in scores[0]},
        {name: _stack([model[name] for model in others], len(keys)) for name in scores[0]},
        halves.seen(list(zip(class_ids.tolist(), keys.tolist(), strict=True))),
    )
    return images if sources is None else images.take(images.sources != "")


def _scores(probabilities: Floats, target: Integers) -> dict[str, Floats]:
    """Return the scores of n images: a part at a time, since they work on copies in float64."""
    functions = {name: score.function for name, score in attacks.SCORES.items()}
    functions[SCALED] = attacks.scaled_confidence
    found: dict[str, Floats] = {name: np.empty(len(target)) for name in functions}
    for start in range(0, len(target), ROWS):
        rows = slice(start, start + ROWS)
        for name, function in functions.items():
            found[name][rows] = function(probabilities[rows], target[rows])
    return found


def _stack(rows: Sequence[Floats], n: int) -> Floats:
    return np.stack(rows) if rows else np.zeros((0, n))


@dataclass(frozen=True)
class Part:
    """A folder of shards that a training set takes images from.

    Attributes:
        name: ``real``, or ``images/`` and the name of a variant.
        manifests: Of its shards.
        fraction: Share of its images that is taken.
    """

    name: str
    manifests: tuple[Path, ...]
    fraction: float | Share

    def records(self) -> list[ShardRecord]:
        """Return the images that are taken."""
        found: list[ShardRecord] = []
        for manifest in self.manifests:
            found += take_share(usable(read_manifest(manifest)), self.fraction)
        return found


def attack_training_set(
    parts: Sequence[Part],
    twins: Mapping[str, Part],
    answers: Mapping[str, Mapping[str, Path]],
    held_out: str,
    draws: int,
) -> list[Attack]:
    """Run all attacks on the models of a training set, under every definition that applies.

    Args:
        parts: What the training set holds.
        twins: By name of a part, the images that differ from it in the seed of their noise only,
            with the same fraction.
        answers: By set of images, those of a part, a twin or ``held_out``, and by model, ``seed0``
            or ``half3``, its predictions.
        held_out: The evaluation set that has the distribution of the real images.
        draws: Bootstrap replicates.
    """
    numbers = sorted(
        int(model.removeprefix("half")) for model in answers[held_out] if model.startswith("half")
    )

    real: dict[Source, str] = {}
    drawn: dict[str, dict[Source, str]] = {}
    held: set[Source] = set()
    for part in parts:
        records = part.records()
        held |= {reference_source(record) for record in records}
        if part.name == REAL:
            real |= {(record.class_id, record.key): record.key for record in records}
        else:
            real |= {(r.class_id, r.source_key): r.source_key for r in records if r.source_key}
            drawn[part.name] = _sources_of(records)
    halves = Halves(held, numbers)

    def images(name: str, sources: Mapping[Source, str] | None) -> Images:
        of = answers[name]
        attacked = [of[model] for model in sorted(of) if model.startswith("seed")]
        return read_images(attacked, [of[f"half{number}"] for number in numbers], halves, sources)

    others = images(held_out, None)
    members = images(REAL, real or None)
    # The paper's order: classes, and file names within them.
    _, place = np.unique(members.class_ids, return_inverse=True)
    members = members.take(np.lexsort((members.sources, place)))
    found = attack_models(REAL, members, others, None, draws)
    if paired := [name for name in drawn if name in twins]:
        nonmembers = join(
            [images(twins[name].name, _sources_of(twins[name].records())) for name in paired]
        )
        seen = join([images(name, drawn[name]) for name in paired])
        found += attack_models(SYNTHETIC, seen, nonmembers, others, draws)
    if numbers and real:
        found += attack_halves(REAL + HALF, members, others, numbers, draws)
    if numbers and drawn:
        seen = join([images(name, sources) for name, sources in drawn.items()])
        found += attack_halves(SYNTHETIC + HALF, seen, others, numbers, draws)
    return found


def _sources_of(records: Iterable[ShardRecord]) -> dict[Source, str]:
    """Return the key of the real image, or its own, of each image by class and key."""
    return {(record.class_id, record.key): reference_source(record)[1] for record in records}


def attack_models(
    definition: str,
    members: Images,
    nonmembers: Images,
    population: Images | None,
    draws: int,
) -> list[Attack]:
    """Attack trained models with images they saw and images they did not see.

    Args:
        definition: ``REAL``, where both sides are different images, or ``SYNTHETIC``, where
            members and non-members of one source are drawn together.
        members: In the order of class and file name, which ``paper`` goes by.
        nonmembers: Images that no model saw.
        population: What RMIA compares with; None for half of the non-members, by their keys.
        draws: Bootstrap replicates.
    """

    def run(name: str, positives: Images, negatives: Images, scores: Floats) -> Attack:
        both = join([positives, negatives])
        is_member = np.arange(len(both)) < len(positives)
        strata = both.class_ids.tolist()
        if definition == REAL:
            sides = np.where(is_member, "member", "non-member").tolist()
            strata = [f"{side}/{c}" for side, c in zip(sides, strata, strict=True)]
        return _attack(definition, name, both, strata, scores, is_member[None], draws)

    def scores_of(name: str, *parts: Images) -> Floats:
        return np.concatenate([part.attacked[name] for part in parts], axis=1)

    first = members.take(attacks.paper_members(len(members)))
    found = [run(PAPER, first, nonmembers, scores_of("confidence", first, nonmembers))]
    found += [
        run(name, members, nonmembers, scores_of(name, members, nonmembers))
        for name in attacks.SCORES
    ]
    if not len(members.seen):
        return found
    both = join([members, nonmembers])
    # Of an image that no model saw ``seen`` says who would have seen it: so as many are left "out"
    # for it as for a member, and neither side has the noisier mean.
    scaled = [
        Answers(target, both.references[SCALED], both.seen) for target in both.attacked[SCALED]
    ]
    found.append(
        run("lira-offline", members, nonmembers, np.stack([lira_offline(a) for a in scaled]))
    )
    if population is None:
        names = list(zip(nonmembers.class_ids.tolist(), nonmembers.sources.tolist(), strict=True))
        sides = two_sides(names, "population")
        held = np.array([sides[name] == 0 for name in names])
        population, nonmembers = nonmembers.take(held), nonmembers.take(~held)
        both = join([members, nonmembers])
    rmia = [
        rmia_offline(
            Answers(target, both.references["confidence"], both.seen),
            Answers(others, population.references["confidence"], population.seen),
        )
        for target, others in zip(
            both.attacked["confidence"], population.attacked["confidence"], strict=True
        )
    ]
    return [*found, run("rmia-offline", members, nonmembers, np.stack(rmia))]


def attack_halves(
    definition: str, images: Images, population: Images, numbers: Sequence[int], draws: int
) -> list[Attack]:
    """Attack each reference model with the images of its half and those of the other half.

    The reference models of an attacked one are those that are not of its pair.

    Args:
        definition: Name for the results.
        images: What the training set holds; each model was trained on a half of it.
        population: Images that no model saw, which RMIA compares with.
        numbers: Numbers of the reference models.
        draws: Bootstrap replicates.
    """
    scores = {name: list(images.references[name]) for name in attacks.SCORES}
    of_pair = np.array(numbers) // 2
    for position in range(len(numbers)):
        others = of_pair != of_pair[position]
        if not others.any():
            continue
        scaled, surely, reference = (
            Answers(answers[position], answers[others], part.seen[others])
            for part, answers in (
                (images, images.references[SCALED]),
                (images, images.references["confidence"]),
                (population, population.references["confidence"]),
            )
        )
        for name, values in (
            ("lira-offline", lira_offline(scaled)),
            ("lira-online", lira_online(scaled)),
            ("rmia-offline", rmia_offline(surely, reference)),
            ("rmia-online", rmia_online(surely, reference)),
        ):
            scores.setdefault(name, []).append(values)
    strata = images.class_ids.tolist()
    return [
        _attack(definition, name, images, strata, np.stack(values), images.seen, draws)
        for name, values in scores.items()
    ]


def _attack(
    definition: str,
    name: str,
    images: Images,
    strata: Sequence[str],
    scores: Floats,
    member: Booleans,
    draws: int,
) -> Attack:
    """Measure scores of shape (models, n) under shared draws; members are (models, n) or (1, n)."""
    design = image_design(strata, images.sources.tolist())
    calibration = roc.calibration_half(images.sources)
    seed = derive_seed("bootstrap", "membership", definition)
    # Models with members of their own are measured one by one: the seed gives all the same draws.
    groups = [scores] if len(member) == 1 else list(scores[:, None])
    parts = [
        roc.measure(group, mask, calibration, design, draws, seed)
        for group, mask in zip(groups, member, strict=True)
    ]
    measured = roc.Measured(
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.replicates for part in parts]),
        np.concatenate([part.exact for part in parts]),
    )
    masks = np.broadcast_to(member, scores.shape)
    fewer = int(np.minimum(masks.sum(axis=1), (~masks).sum(axis=1)).min())
    return Attack(
        definition,
        name,
        _estimates(measured, image_df(design, np.arange(len(images))), fewer),
        round(float(masks.sum(axis=1).mean())),
        round(float((~masks).sum(axis=1).mean())),
        np.stack([_curve(row, mask) for row, mask in zip(scores, masks, strict=True)]),
    )


def _estimates(measured: roc.Measured, df_images: int, images: int) -> roc.Estimates:
    """Return the metrics over models; rates that cannot be resolved keep their exact bound.

    The highest of the models' upper bounds holds for their mean: it fails only where that of the
    model with the highest true rate does. ``images`` are the members or non-members, whichever
    are fewer.
    """
    if len(measured.values) == 1:
        found = roc.of_model(measured, 0)
    else:
        found = roc.over_models(measured, df_images)
        rates = slice(-len(roc.FPRS), None)
        unknown = np.isnan(found.values[rates])
        low, high = found.low.copy(), found.high.copy()
        low[rates] = np.where(unknown, 0.0, low[rates])
        high[rates] = np.where(unknown, measured.exact[:, :, 1].max(axis=0), high[rates])
        found = replace(found, low=low, high=high)
    found = roc.with_width(found, measured.exact, images)
    return replace(found, low=np.maximum(found.low, 0.0), high=np.minimum(found.high, 1.0))


def _curve(scores: Floats, member: Booleans) -> Floats:
    curve = roc.roc(roc.rank(scores, member), np.ones((1, len(scores))))
    nonmembers = int((~member).sum())
    return np.array(
        [
            roc.tpr_at_fpr(curve, fpr)[0] if roc.resolves(nonmembers, fpr) else np.nan
            for fpr in CURVE_FPRS
        ]
    )

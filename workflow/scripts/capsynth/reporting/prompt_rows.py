"""What captions add to prompts, and how ambiguous the images are, as rows of prompts.csv."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from capsynth import intervals, proportions, statistics
from capsynth.errors import CapsynthError
from capsynth.predictions import Predictions, read_predictions
from capsynth.prompt_statistics import prompt_statistics, read_prompts
from capsynth.prompting import PromptRecord
from capsynth.records import known

EVAL_SET, VARIANT = "eval_set", "variant"
DISAGREEMENT = "disagreement"


@dataclass(frozen=True)
class PromptRow:
    """One row of prompts.csv.

    Attributes:
        kind: ``variant``, or ``eval_set`` for the real images that judges are judged by.
        name: Name of the variant or of the evaluation set.
        recipe: Recipe of the classifiers that judge; empty for statistics of the text.
        class_id: The class, empty for all of them.
        metric: Name of the number.
        value: The number; None where there is too little text for it.
        ci_low: Lower bound of its 95 % interval; None for statistics of the text, which is all the
            text there is.
        ci_high: Upper bound of it.
        n: Prompts that it is of, or images.
    """

    kind: str
    name: str
    recipe: str
    class_id: str
    metric: str
    value: float | None
    ci_low: float | None
    ci_high: float | None
    n: int


def measure_prompts(
    prompts: Mapping[str, Sequence[Path]],
    judgements: Sequence[Path],
    references: Sequence[Path],
) -> list[PromptRow]:
    """Return the statistics of the prompts of variants and how ambiguous their images are.

    Args:
        prompts: Files of prompts by variant.
        judgements: Predictions of classifiers that were trained on real images, on the images of
            variants; their evaluation set is the variant.
        references: Predictions of the same classifiers on real images that they have not seen.

    Raises:
        CapsynthError: If judges answered different images, or images of an unknown variant.
    """
    rows: list[PromptRow] = []
    sources: dict[str, dict[str, str]] = {}
    for variant, paths in prompts.items():
        records = list(read_prompts(paths))
        sources[variant] = {r.key: r.source_key for r in records if r.source_key is not None}
        rows += _text_rows(variant, records)
    for group in _grouped(judgements):
        variant = group[0].eval_set
        if variant not in sources:
            raise CapsynthError(f"the judged images of {variant!r} have no prompts; name them too")
        rows += _judged_rows(VARIANT, group, sources[variant])
    for group in _grouped(references):
        rows += _judged_rows(EVAL_SET, group, {})
    return sorted(rows, key=lambda row: (row.kind, row.name, row.recipe, row.class_id, row.metric))


def _text_rows(variant: str, records: Sequence[PromptRecord]) -> Iterator[PromptRow]:
    by_class: dict[str, list[PromptRecord]] = {"": list(records)}
    for record in records:
        by_class.setdefault(record.class_id, []).append(record)
    for class_id, its_records in by_class.items():
        found = prompt_statistics(its_records)
        for metric, value in asdict(found).items():
            n = len(its_records) if metric in ("dropped", "class_word_coverage") else found.prompts
            yield PromptRow(VARIANT, variant, "", class_id, metric, known(value), None, None, n)


def _grouped(paths: Iterable[Path]) -> list[list[Predictions]]:
    """Return predictions that differ in the seed alone together, samples in the same order."""
    groups: dict[tuple[str, str], list[Predictions]] = defaultdict(list)
    for path in paths:
        predictions = read_predictions(path)
        groups[predictions.eval_set, predictions.recipe].append(predictions)
    for (name, recipe), group in groups.items():
        first = group[0]
        for other in group[1:]:
            if sorted(other.keys.tolist()) != sorted(first.keys.tolist()):
                raise CapsynthError(
                    f"{name}, {recipe}: seeds {first.seed} and {other.seed} answered different "
                    "images; judge them all anew"
                )
    return list(groups.values())


def _judged_rows(
    kind: str, group: Sequence[Predictions], sources: Mapping[str, str]
) -> Iterator[PromptRow]:
    """Return the share of images of which the classifiers say another class, all and by class.

    The interval is that of scores, Wilson's: over images within class, those of one source
    together, and over the training seeds of the classifiers. It has a width at 0 and 1 too.
    """
    orders = [np.argsort(one.keys, kind="stable") for one in group]
    wrong = np.array(
        [(one.prediction != one.target)[o] for one, o in zip(group, orders, strict=True)],
        dtype=np.float64,
    )
    keys = group[0].keys[orders[0]].tolist()
    class_ids = group[0].sample_class_ids[orders[0]]
    design = statistics.image_design(class_ids.tolist(), [sources.get(key, key) for key in keys])
    for class_id in ["", *np.unique(class_ids).tolist()]:
        rows = np.flatnonzero((class_ids == class_id) | (class_id == ""))
        layout = proportions.layout_of(design, rows)
        found = intervals.estimate_of(
            proportions.spread_of_shares(layout, wrong[:, None, layout.rows])
        )
        low, high = proportions.score_interval(found, np.array([layout.n]))
        yield PromptRow(
            kind,
            group[0].eval_set,
            group[0].recipe,
            class_id,
            DISAGREEMENT,
            float(found.value[0]),
            float(low[0]),
            float(high[0]),
            layout.n,
        )

"""Tables of what captions add to prompts, overall and by class."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from capsynth.errors import CapsynthError
from capsynth.prompt_statistics import SAMPLED_NGRAMS, SAMPLED_PROMPTS
from capsynth.reporting.prompt_rows import DISAGREEMENT, EVAL_SET, VARIANT, PromptRow
from capsynth.reporting.tables import (
    MISSING,
    Cell,
    Column,
    Table,
    csv_number,
    decimals,
    interval_cell,
    interval_names,
    label,
    write_table,
)


@dataclass(frozen=True)
class PromptTableSettings:
    """What the tables show, and in which order.

    Attributes:
        variants: Variants.
        judge: Training set of the classifiers that judge; empty if there is none.
    """

    variants: tuple[str, ...]
    judge: str


@dataclass(frozen=True)
class _Shown:
    """A statistic of text in a table: its title, what it is multiplied with, its decimals."""

    title: str
    scale: float = 1.0
    digits: int = 0


# Shown as a number of all: "57 of 57".
FELL_BACK = "fell_back"
# Overall; of a class there is too little text for the rarer ones.
OVERALL = {
    "prompts": _Shown("Prompts"),
    "dropped": _Shown("Dropped"),
    FELL_BACK: _Shown("Fell back", 100.0, 1),
    "caption_repeated": _Shown("Looping captions (%)", 100.0, 1),
    "caption_cut": _Shown("Cut captions (%)", 100.0, 1),
    "words_mean": _Shown("Words", digits=1),
    "vocabulary": _Shown("Vocabulary"),
    "expected_vocabulary": _Shown(f"Vocabulary of {SAMPLED_PROMPTS} prompts", digits=1),
    "expected_distinct_1": _Shown("Distinct words (%)", 100.0, 1),
    "expected_distinct_2": _Shown("Distinct pairs (%)", 100.0, 1),
    "expected_distinct_3": _Shown("Distinct triples (%)", 100.0, 1),
    "repeated": _Shown("Repeated (%)", 100.0, 1),
    "class_word_coverage": _Shown("Class word in caption (%)", 100.0, 1),
}
BY_CLASS = {
    name: OVERALL[name]
    for name in (
        "prompts",
        FELL_BACK,
        "words_mean",
        "vocabulary",
        "repeated",
        "class_word_coverage",
    )
}


def prompt_table(
    rows: Sequence[PromptRow], settings: PromptTableSettings, by_class: bool = False
) -> Table:
    """Return statistics and ambiguity of every variant, of all classes together or of each."""
    shown = [row for row in rows if bool(row.class_id) == by_class]
    index = {(r.kind, r.name, r.recipe, r.class_id, r.metric): r for r in shown}
    recipes = sorted({row.recipe for row in shown if row.metric == DISAGREEMENT})
    statistics = BY_CLASS if by_class else OVERALL
    columns = (
        *((Column("Class", ("class_id",), numeric=False),) if by_class else ()),
        Column("Images", ("images",), numeric=False),
        *(Column(one.title, (name,)) for name, one in statistics.items()),
        *(
            Column(
                "Disagreement (%)" if len(recipes) == 1 else f"Disagreement, {recipe} (%)",
                interval_names(DISAGREEMENT if len(recipes) == 1 else f"{DISAGREEMENT}_{recipe}"),
            )
            for recipe in recipes
        ),
    )
    known = {(row.kind, row.name) for row in shown}
    sets = [(VARIANT, name) for name in settings.variants if (VARIANT, name) in known]
    sets += sorted(name for name in known if name[0] == EVAL_SET)
    cells = [
        (
            *((label(class_id),) if by_class else ()),
            label(name if kind == VARIANT else f"{name} (real)"),
            *(
                _cell(index.get((kind, name, "", class_id, metric)), one)
                for metric, one in statistics.items()
            ),
            *(
                _share(index.get((kind, name, recipe, class_id, DISAGREEMENT)))
                for recipe in recipes
            ),
        )
        for class_id in sorted({row.class_id for row in shown})
        for kind, name in sets
    ]
    name, title = ("prompts-per-class", "Prompts by class") if by_class else ("prompts", "Prompts")
    return Table(name, title, _note(settings, by_class, bool(recipes)), columns, tuple(cells))


def _cell(row: PromptRow | None, shown: _Shown) -> Cell:
    if row is None or row.value is None:
        return Cell(MISSING, ("",), None)
    value = shown.scale * row.value
    if row.metric == FELL_BACK:
        text = f"{round(row.value * row.n):,} of {row.n:,}"
        return Cell(text, (csv_number(value, scale=1.0),), value)
    return Cell(decimals(value, shown.digits), (csv_number(value, scale=1.0),), value)


def _share(row: PromptRow | None) -> Cell:
    if row is None:
        return interval_cell(None, None, None)
    return interval_cell(row.value, row.ci_low, row.ci_high)


def _note(settings: PromptTableSettings, by_class: bool, is_judged: bool) -> str:
    sampled = (
        ""
        if by_class
        else (
            f" Distinct words, pairs and triples: the share expected of {SAMPLED_NGRAMS:,} of "
            "them, which is comparable between texts of different length."
        )
    )
    judged = (
        (
            f" Disagreement: images of which classifiers trained on {settings.judge!r} say another "
            "class than the one they were drawn for, mean over seeds with its 95 % interval "
            "(images within class, and training seeds). It holds their own errors, which stand in "
            "the row named real: images that they have not seen."
        )
        if is_judged
        else ""
    )
    fell_back = (
        "Fell back: prompts that lack what their strategy is named after (the caption is empty, "
        "not rewritten, without a subject, or gives way to the class name); in the CSV in percent"
    )
    faulty = (
        "."
        if by_class
        else (
            ". Looping and cut captions: those that the captioner repeated itself in, or did not "
            "end; on_repeated and on_cut say what was made of them."
        )
    )
    return (
        "Statistics of all prompts of a variant; of the text alone, so without intervals. "
        f"{fell_back}{faulty} Words: "
        "mean number in a prompt. Repeated: prompts that another one equals word by word. Class "
        "word: captions that have a word of the class name. A dash: no captions, or too little "
        f"text.{sampled}{judged}"
    )


def make_prompt_tables(
    rows: Sequence[PromptRow], settings: PromptTableSettings, folder: Path
) -> None:
    """Write ``prompts`` and ``prompts-per-class`` into ``folder`` in every format.

    Raises:
        CapsynthError: If there is no number of any of the variants.
    """
    tables = [prompt_table(rows, settings, by_class) for by_class in (False, True)]
    if not tables[0].rows:
        raise CapsynthError(
            f"no prompts of the variants {', '.join(settings.variants)}; run measure_prompts"
        )
    for table in tables:
        write_table(table, folder)

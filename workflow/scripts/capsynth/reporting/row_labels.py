"""What the rows of tables of scores are labelled with: data set, recipe and class."""

from capsynth.reporting.scores import ScoreIndex
from capsynth.reporting.settings import ReportSettings
from capsynth.reporting.tables import Cell, Column, label


def label_columns(index: ScoreIndex) -> tuple[Column, ...]:
    """Return the columns of dataset and recipe; the dataset only where there are several.

    ``labels`` gives their cells.
    """
    several = len({dataset for dataset, _ in index.experiments}) > 1
    dataset = (Column("Dataset", ("dataset",), numeric=False),) if several else ()
    return (*dataset, Column("Recipe", ("recipe",), numeric=False))


def labels(index: ScoreIndex, dataset: str, recipe: str) -> tuple[Cell, ...]:
    """Return the cells of dataset and recipe."""
    several = len({name for name, _ in index.experiments}) > 1
    return (*((label(dataset),) if several else ()), label(recipe))


def class_names_of(index: ScoreIndex, settings: ReportSettings) -> list[str]:
    """Return the classes that have an accuracy of their own in distribution, sorted."""
    return sorted(
        {
            name[4].removeprefix("top1/")
            for name in index.runs
            if name[3] == settings.in_distribution and name[4].startswith("top1/")
        }
    )

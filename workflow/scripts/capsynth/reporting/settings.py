"""What the tables and figures of a report show, and in which order."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ReportSettings:
    """What the tables and figures of a report show.

    Attributes:
        in_distribution: The evaluation set that is distributed as the training images are.
        training_sets: Names in the order of rows and legends.
        eval_sets: Names in the order of columns and panels.
        comparisons: Pairs of training sets; the second is subtracted from the first.
    """

    in_distribution: str
    training_sets: tuple[str, ...]
    eval_sets: tuple[str, ...]
    comparisons: tuple[tuple[str, str], ...]

    @property
    def shifted(self) -> tuple[str, ...]:
        """The evaluation sets other than the one in distribution."""
        return tuple(name for name in self.eval_sets if name != self.in_distribution)

"""How a stage ends before its time."""

from collections.abc import Sequence
from pathlib import Path

# EX_TEMPFAIL of sysexits.h: not a mistake, try again. A site's RequeueExit may name it.
TRY_AGAIN = 75


class CapsynthError(Exception):
    """Something the user can mend; the message says what is wrong and how to mend it."""


class Stopped(Exception):
    """A stage was asked to stop, and has saved what it had."""


class Superseded(CapsynthError):
    """A later start has taken over the outputs, and this one must not touch them.

    Attributes:
        complete: Whether the outputs are there.
    """

    def __init__(self, outputs: Sequence[Path]) -> None:
        self.complete = all(output.exists() for output in outputs)
        super().__init__(
            f"{outputs[0]}: a later start has taken over with other settings, inputs or code, or "
            "the run has ended; what this one made is not used"
        )

"""Stopping in good order: SIGTERM lets a stage save what it has.

SLURM sends SIGTERM some time before it kills a job (``--signal``, a time limit, preemption). A
stage that can resume then finishes its batch or step, saves it and ends with the exit code
``errors.TRY_AGAIN``.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator

from capsynth.errors import Stopped


class StopFlag:
    """Whether this process was asked to stop."""

    def __init__(self) -> None:
        self.asked = False

    def check(self) -> None:
        """Raise Stopped if this process was asked to stop; call it where all is saved."""
        if self.asked:
            raise Stopped("all finished batches are saved")


@contextlib.contextmanager
def deferred_stop() -> Iterator[StopFlag]:
    """Note a SIGTERM instead of dying of it, while the block runs."""
    flag = StopFlag()
    if threading.current_thread() is not threading.main_thread():
        yield flag  # only the main thread may set a handler
        return

    def note(number: int, frame: object) -> None:
        flag.asked = True

    before = signal.signal(signal.SIGTERM, note)
    try:
        yield flag
    finally:
        signal.signal(signal.SIGTERM, before)

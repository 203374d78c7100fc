"""Waiting for something to happen, however busy the machine is.

No test is judged by the time it takes. What never comes is told after so long that no machine is
that slow: the backstop only keeps a test that hangs from doing so for ever.
"""

import time
from collections.abc import Callable
from contextlib import suppress

BACKSTOP_S = 1800.0
_LOOK_S = 0.02


def wait_until(
    condition: Callable[[], object],
    what: str = "it",
    *,
    instead: Callable[[], object] = lambda: "",
    retried: tuple[type[Exception], ...] = (),
) -> None:
    """Wait for something to come true.

    Args:
        condition: Whether it has.
        what: What is waited for, if it never comes.
        instead: What is there instead, in that case.
        retried: Errors of ``condition`` that only mean "not yet".

    Raises:
        TimeoutError: If it has not after half an hour.
    """
    end = time.monotonic() + BACKSTOP_S
    while True:
        with suppress(*retried):
            if condition():
                return
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {BACKSTOP_S:.0f} s; {instead()}")
        time.sleep(_LOOK_S)


# Stands before a script: the job says that it works, and waits in its folder until it may go on.
UNTIL_TOLD = """import pathlib, time
pathlib.Path("working").touch()
while not pathlib.Path("go").exists():
    time.sleep(0.05)
"""

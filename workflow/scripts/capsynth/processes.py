"""Processes that must not outlive the one that started them."""

import ctypes
import os

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def follow(parent: int, number: int) -> None:
    """Let the kernel send signal ``number`` to this process when the process ``parent`` has gone.

    For a child that was just forked; Linux only.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    if os.getppid() != parent:  # it went before the call
        os.kill(os.getpid(), number)

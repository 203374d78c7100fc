"""What a job of a run says of itself in its log: a line when it starts and one when it ends.

The line is ``capsynth-job`` and a JSON object. ``provenance`` gathers these lines into the record
of the run; a job that was killed has left the first of them only.
"""

import contextlib
import os
import resource
import socket
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from capsynth.energy import EnergyMeter
from capsynth.files import dump_json, record_published

PREFIX = "capsynth-job "
# Set by the workflow when a run starts: the name of its record. Jobs inherit it, SLURM's too.
RUN_VARIABLE = "CAPSYNTH_RUN"

# What a script adds to the last line of its job.
_noted: dict[str, float] = {}


def note(**facts: float) -> None:
    """Add facts to what this job says of itself when it ends."""
    _noted.update(facts)


class JobLog:
    """Writes the two lines to stderr, none outside of a run; leaves records of what was made.

    Attributes:
        exit_code: What the job ends with, unless an exception says otherwise.
    """

    def __init__(self) -> None:
        self.exit_code = 0
        self._began = time.monotonic()
        self._facts: dict[str, Any] = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "run": os.environ.get(RUN_VARIABLE),
            "slurm_job_id": os.environ.get("SLURM_JOB_ID"),
            "start": utc(time.time()),
        }
        self._energy = None if self._facts["run"] is None else EnergyMeter()

    def __enter__(self) -> Self:
        self._say({})
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        own = resource.getrusage(resource.RUSAGE_SELF)
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_s = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
        energy_j = self._energy.stop(cpu_s) if self._energy else None
        exit_code = _exit_code(error, self.exit_code)
        # The next job reads it, in a run or by hand.
        digests = record_published(Path(sys.argv[0]).stem) if exit_code == 0 else {}
        self._say(
            {
                "cpu_s": round(cpu_s, 2),
                "energy_j": None if energy_j is None else round(energy_j, 2),
                "exit_code": exit_code,
                "gpu": _gpu(),
                # Of the largest process of the job, be it this one or one that it started.
                "peak_memory_mb": round(max(_peak_bytes(), _bytes(children.ru_maxrss)) / 1e6),
                "sha256": digests,
                "wall_s": round(time.monotonic() - self._began, 2),
                **_noted,
            }
        )

    def _say(self, more: dict[str, Any]) -> None:
        if self._facts["run"] is None:
            return
        # In one piece: several processes of a job may write to one log.
        line = PREFIX + dump_json({**self._facts, **more}) + "\n"
        # A full disk must not hide why a job failed.
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(line)
            sys.stderr.flush()


def utc(seconds: float) -> str:
    """Return a time as ISO 8601 in UTC, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def _exit_code(error: BaseException | None, otherwise: int) -> int:
    if error is None:
        return otherwise
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    return 1


def _peak_bytes() -> int:
    """Return the peak memory of this process.

    Linux counts in ru_maxrss what the process was before it executed Python; VmHWM does not, and
    in a child of the warm server it starts at what the child shares with the server.
    """
    with contextlib.suppress(OSError), open("/proc/self/status", encoding="ascii") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return _bytes(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def _bytes(maxrss: int) -> int:
    return maxrss if sys.platform == "darwin" else maxrss * 1024


def _gpu() -> str | None:
    """Return the name of the GPU that this process has used, None if it has used none."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    name: Callable[[], str] = torch.cuda.get_device_name
    return name()

"""What jobs have said in their logs (``job_log``)."""

import json
import os
import types
from typing import Any

from capsynth.job_log import PREFIX
from capsynth.settings import fits

# The lines of a job are the first and the last of its log, but for warnings and a traceback.
_EDGE_BYTES = 32_768
# What a job says in its log. Of a line at its end more is needed than of one at its start.
_KINDS = {
    "cpu_s": float,
    "energy_j": float | types.NoneType,
    "exit_code": int,
    "gpu": str | types.NoneType,
    "host": str,
    "kept_cpu_s": float,
    "kept_wall_s": float,
    "peak_memory_mb": float,
    "pid": int,
    "run": str,
    "sha256": dict[str, str],
    "slurm_job_id": str | types.NoneType,
    "start": str,
    "wall_s": float,
}
_FIRST = {"run", "pid"}
_LAST = {*_FIRST, "exit_code", "gpu", "cpu_s"}
# What a record tells of a job comes from lines that have all of it.
_FIRST_WHOLE = {*_FIRST, "host", "slurm_job_id", "start"}
_LAST_WHOLE = {*_LAST, "wall_s", "peak_memory_mb"}


def last_words(log: str) -> list[dict[str, Any]]:
    """Return what the processes of a job said when they ended, in the last run of its log."""
    ends = [line for line in job_lines(log) if "exit_code" in line]
    return [line for line in ends if line["run"] == ends[-1]["run"]]


def kept_wall_s(log: str | None) -> float:
    """Return the seconds that it took to make what a job took over, ready, from earlier ones."""
    said = last_words(log) if log is not None else []
    return sum(float(line.get("kept_wall_s", 0.0)) for line in said)


def job_lines(log: str | None, run: str | None = None) -> list[dict[str, Any]]:
    """Return the lines of a run, or of any, in the log of a job, without those that are damaged."""
    found = []
    for line in _edges(log).splitlines():
        if line.startswith(PREFIX):
            try:
                facts = json.loads(line.removeprefix(PREFIX))
            except (ValueError, RecursionError):
                continue
            if _is_said(facts) and run in (None, facts["run"]):
                found.append(facts)
    return found


def whole_job_lines(log: str | None, run: str) -> list[dict[str, Any]]:
    """Return the lines of a run in the log of a job from which a record can be made."""
    return [
        line
        for line in job_lines(log, run)
        if line.keys() >= _FIRST_WHOLE | (_LAST_WHOLE if "exit_code" in line else set())
    ]


def _is_said(facts: Any) -> bool:
    if not isinstance(facts, dict):
        return False
    needed = _LAST if "exit_code" in facts else _FIRST
    return facts.keys() >= needed and all(
        fits(value, _KINDS[name]) for name, value in facts.items() if name in _KINDS
    )


def _edges(log: str | None) -> str:
    """Return the beginning and the end of a log; a training's may be long."""
    if log is None:
        return ""
    try:
        with open(log, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            text = file.read(_EDGE_BYTES)
            if size > len(text):
                file.seek(max(len(text), size - _EDGE_BYTES))
                text += b"\n" + file.read()
    except OSError:
        return ""
    return text.decode(errors="replace")

"""Trials: an input of a job is not what the job before it wrote, and the job is started.

One bit of it is another one, its end is missing, it is empty, or another file of its kind lies in
its place; size and times are left as they were, where that can be. The job has to refuse it in a
line that names it, or to make the bytes that it makes of the right one.
"""

import os
import random
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from faults import FinishedExperiment, Outcome, Trials, digests
from planning import PlannedJob
from waiting import BACKSTOP_S

FLIP, CUT, EMPTY, SWAP = "a bit", "cut", "empty", "another file"
DAMAGES = (FLIP, CUT, EMPTY, SWAP)
TEXT = (".csv", ".json", ".jsonl", ".tsv", ".txt")

# Inputs that are not damaged, and why.
LEFT_OUT = {
    "results/benchmarks/": "written by Snakemake after the job: nobody knows what they should be",
    "results/.code/": "watched by Snakemake, and read for their checksum only",
}


@dataclass(frozen=True)
class Case:
    """An input of a job.

    Attributes:
        kind: Its rule, and what it is: what stands for all of its kind.
        experiment: Whose job it is.
        job: The job.
        path: The input; of a folder, a file in it.
    """

    kind: str
    experiment: FinishedExperiment
    job: PlannedJob
    path: str


class DamageTrials(Trials):
    """Runs trials of damaged inputs on finished experiments, beside those of faults and kills."""

    def cases(self) -> list[Case]:
        """Return an input of each kind of each rule, in a fixed order."""
        found: dict[str, Case] = {}
        for stage in self.stages:
            for experiment, job in self._by_stage[stage]:
                for path in _files(experiment, job):
                    kind = f"{stage}: {_kind_of(path)}"
                    found.setdefault(kind, Case(kind, experiment, job, path))
        return list(found.values())

    def damage(self, case: Case, damage: str, number: int) -> Outcome | None:
        """Damage an input and start its job; None if it cannot be damaged like this."""
        rng = random.Random(f"{self._seed} {case.kind} {damage}")
        folder = self._place / f"damage-{number}"
        self._prepare(case.experiment, case.job, folder)
        if not _damage(folder / case.path, damage, self._others(case), rng):
            shutil.rmtree(folder)
            return None
        code = self._start(case.job, folder).wait(BACKSTOP_S)
        problems = self._problems(case, folder, code)
        if not problems:
            shutil.rmtree(folder)
        end = "refused" if code else "same bytes"
        return Outcome(number, case.kind, damage, case.path, end, tuple(problems))

    def _problems(self, case: Case, folder: Path, code: int) -> list[str]:
        if code:
            said = self._said(case.job, folder)
            lines = [line for line in said.splitlines() if line.startswith("error: ")]
            path = Path(case.path)
            # Of drawn images one checksum tells together.
            drawn = [*path.parents][:2] if path.suffix == ".png" else []
            names = list(map(str, (path, *drawn)))
            if "Traceback" in said or not any(name in line for line in lines for name in names):
                return [f"its log does not name {case.path} in one line: ...{said[-1500:]}"]
            return []
        # Two undisturbed runs differ in these, two undisturbed starts of one job do not.
        wanted = self._reference(case.experiment, case.job).listing
        found = digests(folder, *case.job.outputs)
        return [f"{name} is another one" for name in found if found[name] != wanted[name]]

    @staticmethod
    def _others(case: Case) -> Iterator[bytes]:
        """Yield what lies beside an input, or beside its folder, of the same kind."""
        path = case.experiment.folder / case.path
        for other in (*sorted(path.parent.iterdir()), *sorted(path.parent.parent.rglob("*"))):
            if other.suffix == path.suffix and other.is_file():
                yield other.read_bytes()


def _files(experiment: FinishedExperiment, job: PlannedJob) -> Iterator[str]:
    """Yield the files that a job reads: its inputs, what is in them, what its arguments name."""
    for name in job.inputs:
        place = experiment.folder / name
        if not name.startswith("results/") or name.startswith(tuple(LEFT_OUT)):
            continue
        if place.is_dir():
            images = sorted(place.rglob("*.png"))
            yield from (str(image.relative_to(experiment.folder)) for image in images[:1])
            continue
        yield name
        if name.startswith("results/.arguments/"):
            words = place.read_text(encoding="utf-8").splitlines()
            yield from (w for w in words if w.startswith("results/") and w.endswith(".tar"))


def _kind_of(path: str) -> str:
    """Return what a result is: its folder but for the names in it, and its suffix."""
    parts = Path(path).parts
    inner = parts[2:-1] if parts[1] in ("openmoji", "photos") else parts[1:-1]
    return f"{inner[0] if inner else parts[-1]}{Path(path).suffix if inner else ''}"


def _damage(path: Path, damage: str, others: Iterator[bytes], rng: random.Random) -> bool:
    """Damage a file; return whether that can be done."""
    status, data = path.stat(), path.read_bytes()
    if damage == FLIP and data:
        place = rng.randrange(len(data))
        bit = 1 << rng.randrange(8)
        other = data[:place] + bytes([data[place] ^ bit]) + data[place + 1 :]
    elif damage == CUT:
        ends = [i + 1 for i, sign in enumerate(data[:-1]) if sign == 0x0A]
        at_line = path.suffix in TEXT and bool(ends)
        other = data[: ends[len(ends) // 2]] if at_line else data[: len(data) // 2]
    elif damage == EMPTY:
        other = b""
    else:
        other = next((one for one in others if one != data), data)
    if other == data:
        return False
    path.write_bytes(other)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    return True


def sample(cases: Sequence[Case], count: int) -> list[tuple[Case, str]]:
    """Return ``count`` pairs of an input and a damage: every input before one comes again."""
    pairs = [
        (case, DAMAGES[(place + turn) % len(DAMAGES)])
        for turn in range(len(DAMAGES))
        for place, case in enumerate(cases)
    ]
    # Spread over all rules, which are in order.
    step = max(1, len(cases) // count)
    return pairs[::step][:count] if count < len(cases) else pairs[:count]

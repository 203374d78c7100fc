"""Trials: a job of the experiment meets a fault or is killed, is started again, and is looked at.

A finished experiment is what everything is compared with. A trial of a job takes place in a folder
that holds the job's inputs and nothing else, so it costs what the job costs; a trial of a run takes
place in a copy of the experiment that lacks some results. Jobs run in children of one warm server,
under ``faulty_io.c``. Everything random of a trial comes from the seed and the trial's number.
"""

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from planning import PlannedJob, plan
from waiting import BACKSTOP_S

from capsynth.integrity import record_path
from capsynth.resuming import clear_leftovers, is_leftover

IO_KINDS = ("ENOSPC", "EIO", "EINTR", "SHORT")
AT_WRITE, AT_MOMENT, RUN_AT_MOMENT = "kill at a write", "kill at a moment", "kill in a run"
RUN_FAULT = "ENOSPC or EIO in a run"
# What a job does not even notice.
UNNOTICED = ("EINTR", "SHORT")
# What the log of a job has to say that fails of the others.
REASONS = {"ENOSPC": "No space left on device", "EIO": "Input/output error"}
LANES = 2
# One trial in so many is one of a whole run.
RUN_EVERY = 20
# Of how many jobs a run lacks the results; what follows from them is made anew too.
RUN_LACKS = 4
# In this time from its start a run is killed: it lasts longer.
RUN_MOMENT_S = 20.0

_SHIM = Path(__file__).with_name("faulty_io.c")
_GCC = ("gcc", "-O2", "-Wall", "-Wextra")
# faulty_io.c: struct state
_STATE_BYTES = 4096
_COUNTED = ("ENOSPC", "EIO", "EINTR", "SHORT", "KILL")
_COUNTS = struct.Struct("@5LL")

# Results whose bytes differ between two undisturbed runs, and why.
VARYING = {
    "results/benchmarks/": "times and memory",
    "results/costs.csv": "times and memory",
    "results/report/stage-times": "drawn from the costs",
    "results/report/tables/cost": "made of the costs",
    "results/provenance/": "records of runs: times, hosts, processes",
    "results/.weights/digests/": "times of the files of models",
}
VARYING_ENDS = {
    ".sources.json": "times of the source images",
    "/times.json": "what it took to answer an evaluation set",
}

# Where the models of a run lie: noted for its jobs, and no input of theirs.
WEIGHTS = "results/.weights"
# Rules whose jobs read more than their inputs, by which they are watched: those get all results.
READING_MORE = {
    "pack_real": "the summary of the index of tars",
    "measure_costs": "logs and sizes of results",
    "plot_gallery": "tars beside manifests",
    "plot_senses": "tars beside manifests",
}


@dataclass(frozen=True)
class Outcome:
    """What came of a trial.

    Attributes:
        number: Of the trial.
        stage: The rule, or ``run`` for a whole run of Snakemake.
        kind: Of the fault.
        what: What the fault hit.
        end: ``unnoticed``: same bytes, exit code 0; ``resumed``: failed, and made whole by the
            next start; ``missed``: the job ended before the fault came.
        problems: What went wrong; empty if nothing did.
    """

    number: int
    stage: str
    kind: str
    what: str
    end: str
    problems: tuple[str, ...] = ()


@dataclass
class _Reference:
    """An undisturbed start of a job: operations by kind of fault, seconds, files that it leaves."""

    counts: dict[str, int]
    runtime_s: float
    listing: dict[str, str]


@dataclass(frozen=True)
class FinishedExperiment:
    """A checkout with an experiment of which some targets have been made, and their jobs."""

    folder: Path
    targets: tuple[str, ...]
    jobs: tuple[PlannedJob, ...]


class FaultyIO:
    """The shim, and the environment that has a process meet a fault."""

    def __init__(self, folder: Path) -> None:
        self.library = folder / "faulty_io.so"
        subprocess.run([*_GCC, "-shared", "-fPIC", "-o", self.library, _SHIM, "-ldl"], check=True)

    @staticmethod
    def why_unavailable() -> str | None:
        """Why there is none here; None if there is."""
        if sys.platform != "linux":
            return "faults are injected by LD_PRELOAD of Linux's C library"
        if shutil.which("gcc") is None:
            return "no gcc, which builds tests/support/faulty_io.c"
        done = subprocess.run([*_GCC, "-fsyntax-only", _SHIM], capture_output=True, text=True)
        return None if done.returncode == 0 else f"gcc: {done.stderr.strip()[:200]}"

    @staticmethod
    def environment(root: Path, state: Path, kind: str, at: int) -> dict[str, str]:
        """What has a process meet a fault, and a new state for it."""
        state.write_bytes(bytes(_STATE_BYTES))
        names = {"ROOT": root, "STATE": state, "KIND": kind, "AT": at}
        return {f"FAULT_{name}": str(value) for name, value in names.items()}

    @staticmethod
    def read(state: Path) -> tuple[dict[str, int], str | None]:
        """Return how many operations of each kind there were, and what the fault hit."""
        data = state.read_bytes()
        *counts, fired = _COUNTS.unpack_from(data)
        what = data[_COUNTS.size :].partition(b"\0")[0].decode(errors="replace")
        return dict(zip(_COUNTED, counts, strict=True)), what if fired else None


@contextlib.contextmanager
def warm_server(checkout: Path, shim: Path) -> Iterator[dict[str, str]]:
    """Run a warm server under the shim; yield the environment that has jobs use it."""
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("SNAKEMAKE", "CAPSYNTH"))},
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "LD_PRELOAD": str(shim),
        "HF_HUB_OFFLINE": "1",
    }
    tell = "import json, os, sys; print(json.dumps(dict(os.environ)), flush=True); sys.stdin.read()"
    scripts = checkout / "workflow" / "scripts"
    command = [sys.executable, scripts / "warm.py", "serve", "--", sys.executable, "-c", tell]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        assert server.stdin is not None
        try:
            yield json.loads(server.stdout.readline())
        finally:
            server.stdin.close()


def finish(folder: Path, environment: Mapping[str, str], *targets: str) -> FinishedExperiment:
    """Make the targets of a checkout; return what was done."""
    done = subprocess.run(
        ["snakemake", "--cores", str(LANES), "--", *targets],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    planned = plan(folder, folder / "config.yaml", targets=targets, cores=LANES)
    jobs = sorted((j for j in planned if j.command and j.outputs), key=lambda j: j.outputs)
    return FinishedExperiment(folder, targets, tuple(jobs))


def varies(path: str) -> bool:
    """Whether the bytes of a result differ between two undisturbed runs."""
    return path.startswith(tuple(VARYING)) or path.endswith(tuple(VARYING_ENDS))


def digests(root: Path, *names: str) -> dict[str, str]:
    """Return a digest of each file at or below some paths of ``root``, by its path."""
    found = {}
    for name in names:
        whole = root / name
        files = sorted(whole.rglob("*")) if whole.is_dir() else [whole]
        for path in files:
            # Snakemake's own mark in folders that are outputs.
            if path.is_file() and path.name != ".snakemake_timestamp":
                content = hashlib.sha256(path.read_bytes()).hexdigest()
                found[path.relative_to(root).as_posix()] = content
    return found


def processes_in(folder: Path) -> list[int]:
    """Return the processes that work in a folder."""
    found = []
    for entry in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if entry.isdecimal() and os.readlink(f"/proc/{entry}/cwd") == str(folder):
                found.append(int(entry))
    return sorted(found)


def _wait_for_none(folder: Path) -> list[int]:
    """Wait until no process works in a folder; return those that still do, which are killed."""
    deadline = time.monotonic() + BACKSTOP_S
    while left := processes_in(folder):
        if time.monotonic() > deadline:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return left
        time.sleep(0.02)
    return []


def _clear(job: PlannedJob, folder: Path) -> None:
    """Do what Snakemake does at the end of a run (workflow/rules/common/recovery.smk)."""
    sources = [*folder.glob("results/*/source"), *folder.glob("results/*/source/.cache")]
    clear_leftovers([folder / name for name in job.outputs], sources)


def _differences(found: Mapping[str, str], wanted: Mapping[str, str]) -> list[str]:
    names = sorted({*found, *wanted})
    return [
        f"{name} is {'missing' if name not in found else 'not the undisturbed one'}"
        for name in names
        if name in wanted and found.get(name) != wanted[name] and not varies(name)
    ] + [
        f"{name} is there, and should not be"
        for name in names
        if name not in wanted and not varies(name)
    ]


class Trials:
    """Runs trials on finished experiments."""

    def __init__(
        self,
        experiments: Sequence[FinishedExperiment],
        place: Path,
        environment: Mapping[str, str],
        seed: int,
    ) -> None:
        self._place, self._environment, self._seed = place, environment, seed
        self._by_stage: dict[str, list[tuple[FinishedExperiment, PlannedJob]]] = {}
        for experiment in experiments:
            for job in experiment.jobs:
                self._by_stage.setdefault(job.rule, []).append((experiment, job))
        self._whole, self._targets = experiments[0], experiments[0].targets
        self._references: dict[tuple[str, ...], _Reference] = {}
        self._locks = {outputs: threading.Lock() for outputs in self._all_outputs()}

    def _all_outputs(self) -> set[tuple[str, ...]]:
        return {job.outputs for jobs in self._by_stage.values() for _, job in jobs}

    @property
    def stages(self) -> list[str]:
        """The rules that trials are made of."""
        return sorted(self._by_stage)

    def run(
        self, count: int, kinds: Sequence[str], whole: Sequence[str], only: Sequence[int] = ()
    ) -> list[Outcome]:
        """Run ``count`` trials whose fault came.

        Args:
            count: How many.
            kinds: Of faults in jobs; every pair of stage and kind comes before one comes again.
            whole: Kinds of faults in whole runs; one trial in ``RUN_EVERY`` is one.
            only: Numbers of trials: these alone, to look into them.
        """
        rng = random.Random(f"{self._seed} {kinds}")
        pairs: list[tuple[str, str]] = []
        while len(pairs) < 3 * count:  # some faults come too late
            these = [(stage, kind) for stage in self.stages for kind in kinds]
            rng.shuffle(these)
            pairs += these
        for number in range(RUN_EVERY - 1, len(pairs), RUN_EVERY) if whole else ():
            pairs[number] = ("run", whole[number // RUN_EVERY % len(whole)])
        numbers = iter(only or range(len(pairs)))
        outcomes: list[Outcome] = []
        lock = threading.Lock()

        def work(lane: int) -> None:
            while True:
                with lock:
                    came = sum(outcome.end != "missed" for outcome in outcomes)
                    number = next(numbers, None) if came < count else None
                if number is None:
                    return
                stage, kind = pairs[number]
                outcome = self._try(lane, number, stage, kind)
                with lock:
                    outcomes.append(outcome)

        with ThreadPoolExecutor(LANES) as lanes:
            for done in [lanes.submit(work, lane) for lane in range(LANES)]:
                done.result()
        return sorted(outcomes, key=lambda outcome: outcome.number)

    def _try(self, lane: int, number: int, stage: str, kind: str) -> Outcome:
        rng = random.Random(f"{self._seed} {kind} {number}")
        # The folder of a trial with problems stays, to be looked at.
        name = f"{kind.replace(' ', '-')}-{number}"
        folder = self._place / f"lane{lane}" / name
        state = self._place / f"lane{lane}" / f"{name}.state"
        try:
            if stage == "run":
                outcome = self._try_run(folder, state, number, kind, rng)
            else:
                outcome = self._try_job(folder, state, number, stage, kind, rng)
        finally:
            _wait_for_none(folder)
        if not outcome.problems:
            shutil.rmtree(folder)
            state.unlink(missing_ok=True)
        return outcome

    # ---- a job ---------------------------------------------------------------------------------

    def _prepare(self, experiment: FinishedExperiment, job: PlannedJob, folder: Path) -> None:
        """Make a folder that holds what a job reads, and the folders that Snakemake makes."""
        folder.mkdir(parents=True)
        for source in experiment.folder.iterdir():
            if source.name not in ("results", "logs", ".snakemake"):
                (folder / source.name).symlink_to(source)
        if job.rule in READING_MORE:
            shutil.copytree(experiment.folder / "results", folder / "results")
            shutil.copytree(experiment.folder / "logs", folder / "logs")
            self._remove(job, folder)
        weights = experiment.folder / WEIGHTS
        if weights.exists() and not (folder / WEIGHTS).exists():
            shutil.copytree(weights, folder / WEIGHTS)
        for name in job.inputs:
            source, target = experiment.folder / name, folder / name
            if not name.startswith("results/") or target.exists():
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target)
            else:
                shutil.copy2(source, target)
            # What readers compare it with.
            record = record_path(Path(name))
            if record is not None and (experiment.folder / record).exists():
                (folder / record).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(experiment.folder / record, folder / record)
        for name in (*job.outputs, *job.logs):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)

    @staticmethod
    def _remove(job: PlannedJob, folder: Path) -> None:
        for path in (folder / name for name in job.outputs):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    def _start(
        self, job: PlannedJob, folder: Path, more: Mapping[str, str] = {}
    ) -> subprocess.Popen[bytes]:
        threads = job.needs.split()[0]
        numbers = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        return subprocess.Popen(
            ["bash", "-c", f"set -euo pipefail; {job.command}"],
            cwd=folder,
            env={**self._environment, **dict.fromkeys(numbers, threads), **more},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def _reference(self, experiment: FinishedExperiment, job: PlannedJob) -> _Reference:
        with self._locks[job.outputs]:
            if job.outputs not in self._references:
                self._references[job.outputs] = self._measure(experiment, job)
            return self._references[job.outputs]

    def _measure(self, experiment: FinishedExperiment, job: PlannedJob) -> _Reference:
        name = hashlib.sha256(repr(job.outputs).encode()).hexdigest()[:12]
        folder = self._place / "references" / name / job.rule
        self._prepare(experiment, job, folder)
        state = folder.parent / "state"
        faults = FaultyIO.environment(folder / "results", state, "COUNT", 0)
        began = time.monotonic()
        code = self._start(job, folder, faults).wait(BACKSTOP_S)
        runtime_s = time.monotonic() - began
        assert code == 0, f"{job.rule} by itself: {self._said(job, folder)}"
        _wait_for_none(folder)
        _clear(job, folder)
        wanted = digests(experiment.folder, *job.outputs)
        found = digests(folder, *job.outputs)
        assert not (different := _differences(found, wanted)), different
        counts, _ = FaultyIO.read(state)
        listing = digests(folder, "results")
        shutil.rmtree(folder.parent)
        return _Reference(counts, runtime_s, listing)

    @staticmethod
    def _said(job: PlannedJob, folder: Path) -> str:
        logs = [folder / name for name in job.logs]
        return "".join(log.read_text(errors="replace")[-3000:] for log in logs if log.exists())

    def _try_job(
        self, folder: Path, state: Path, number: int, stage: str, kind: str, rng: random.Random
    ) -> Outcome:
        experiment, job = rng.choice(self._by_stage[stage][:3])
        reference = self._reference(experiment, job)
        self._prepare(experiment, job, folder)
        moment, what, problems = rng.random(), None, list[str]()
        inner = {AT_WRITE: "KILL", AT_MOMENT: "COUNT"}.get(kind, kind)
        if inner == "COUNT":
            at = 0
        elif reference.counts[inner]:
            at = 1 + int(moment * reference.counts[inner])
        else:
            return Outcome(number, stage, kind, f"{stage} does nothing that it could hit", "missed")
        faults = FaultyIO.environment(folder / "results", state, inner, at)
        process = self._start(job, folder, faults)
        if kind == AT_MOMENT:
            time.sleep(moment * reference.runtime_s)
            what = self._kill_one(folder, rng)
        try:
            code = process.wait(BACKSTOP_S)
        except subprocess.TimeoutExpired:
            code = None
            problems.append(f"does not end within {BACKSTOP_S:g} s of the fault")
            process.kill()
        # What a killed job has started ends by itself.
        if left := _wait_for_none(folder):
            problems.append(f"{len(left)} processes live on after the job has ended")
        if kind != AT_MOMENT:
            what = FaultyIO.read(state)[1]
        if what is None:
            return Outcome(number, stage, kind, "", "missed", tuple(problems))
        what = what.replace(f"{folder}/", "")
        problems += self._look_after_fault(job, folder, reference, kind, code)
        # By hand a job finds what the one before it left; Snakemake deletes the outputs first.
        if rng.random() < 0.5:
            self._remove(job, folder)
        problems += self._start_again(job, folder, reference)
        end = "unnoticed" if code == 0 else "resumed"
        return Outcome(number, stage, kind, what, end, tuple(problems))

    @staticmethod
    def _kill_one(folder: Path, rng: random.Random) -> str | None:
        """Kill a process that works in a folder; return which, None if there is none."""
        while candidates := processes_in(folder):
            pid = rng.choice(candidates)
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                os.kill(pid, signal.SIGKILL)
                name = " ".join(w.decode(errors="replace").rpartition("/")[2] for w in words[:3])
                return f"{name} ({candidates.index(pid) + 1} of {len(candidates)} processes)"
        return None

    def _look_after_fault(
        self,
        job: PlannedJob,
        folder: Path,
        reference: _Reference,
        kind: str,
        code: int | None,
    ) -> list[str]:
        """Return what is wrong before the job is started again."""
        problems = []
        wanted = {
            name: {p: d for p, d in reference.listing.items() if p == name or is_in(p, name)}
            for name in job.outputs
        }
        are_all = all((folder / name).exists() for name in job.outputs)
        for name in job.outputs:
            found = digests(folder, name)
            if (folder / name).is_dir() and not are_all:
                # A folder of class folders, each of which is whole; the stamp beside it comes last.
                found = {p: d for p, d in found.items() if not is_leftover(Path(p))}
                there = {Path(p).parent for p in found}
                wanted[name] = {p: d for p, d in wanted[name].items() if Path(p).parent in there}
            if found or (folder / name).is_file():
                problems += [f"after the fault {p}" for p in _differences(found, wanted[name])]
            elif code == 0:
                problems.append(f"exit code 0 without {name}")
        reason = REASONS.get(kind)
        said = self._said(job, folder)
        if code and kind in UNNOTICED:
            problems.append(f"it ends with {code}: ...{said[-1500:]}")
        if code and reason and reason not in said:
            problems.append(f"its log does not say {reason!r}: ...{said[-600:]}")
        if code and reason and "Traceback" in said:
            problems.append(f"its log has a traceback: ...{said[-1500:]}")
        return problems

    def _start_again(self, job: PlannedJob, folder: Path, reference: _Reference) -> list[str]:
        try:
            code = self._start(job, folder).wait(BACKSTOP_S)
        except subprocess.TimeoutExpired:
            return [f"started again it does not end within {BACKSTOP_S:g} s"]
        if code != 0:
            return [f"started again it ends with {code}: {self._said(job, folder)[-1500:]}"]
        _wait_for_none(folder)
        left = [name for name in digests(folder, "results") if name not in reference.listing]
        problems = [f"leaves {name}" for name in left if not is_leftover(Path(name))]
        _clear(job, folder)
        return problems + _differences(digests(folder, "results"), reference.listing)

    # ---- a whole run ---------------------------------------------------------------------------

    def _try_run(
        self, folder: Path, state: Path, number: int, kind: str, rng: random.Random
    ) -> Outcome:
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(self._whole.folder, folder, symlinks=True)
        jobs = rng.sample(self._whole.jobs, RUN_LACKS)
        for job in jobs:
            self._remove(job, folder)
        problems: list[str] = []
        what = None
        inner = "COUNT" if kind == RUN_AT_MOMENT else rng.choice(["ENOSPC", "EIO"])
        operations = sum(self._reference(self._whole, job).counts["ENOSPC"] for job in jobs)
        faults = FaultyIO.environment(
            folder / "results", state, inner, 1 + int(rng.random() * operations)
        )
        moment_s = rng.random() * RUN_MOMENT_S
        # Nothing follows from some results that would have Snakemake miss them: they are asked for.
        targets = [*self._targets, *(name for job in jobs for name in job.outputs)]
        process = self._snakemake(folder, targets, faults)
        if kind == RUN_AT_MOMENT:
            deadline = time.monotonic() + moment_s
            while process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.05)
            what = self._kill_one(folder, rng)
        try:
            code = process.wait(BACKSTOP_S)
        except subprocess.TimeoutExpired:
            code = None
            problems.append(f"does not end within {BACKSTOP_S:g} s of the fault")
            process.kill()
        if kind != RUN_AT_MOMENT:
            what = FaultyIO.read(state)[1]
        if what is None:
            return Outcome(number, "run", kind, "", "missed", tuple(problems))
        wanted = digests(self._whole.folder, "results")
        complete = {name: digest for name, digest in wanted.items() if not varies(name)}
        # Jobs that outlive their Snakemake may write while the next one starts, as on a cluster.
        found = digests(folder, "results")
        problems += [
            f"after the fault {name} is not the undisturbed one"
            for name, digest in complete.items()
            if found.get(name, digest) != digest
        ]
        problems += self._run_again(folder, targets)
        # A killed job that was done anew has lost its result of before. Where all that follows from
        # it is up to date, Snakemake makes it again when it is asked for.
        names = [name for job in self._whole.jobs for name in job.outputs]
        if missing := [name for name in names if not (folder / name).exists()]:
            problems += self._run_again(folder, missing)
        if left := _wait_for_none(folder):
            problems.append(f"{len(left)} processes live on after the run has ended")
        found = digests(folder, "results")
        problems += _differences(found, complete)
        problems += [f"{name} is left" for name in found if is_leftover(Path(name))]
        what = what.replace(f"{folder}/", "")
        end = "unnoticed" if code == 0 else "resumed"
        return Outcome(number, "run", kind, what, end, tuple(problems))

    def _snakemake(
        self, folder: Path, targets: Sequence[str], more: Mapping[str, str] = {}
    ) -> subprocess.Popen[bytes]:
        # As the Makefile does: a killed Snakemake leaves its lock.
        if any(folder.glob(".snakemake/locks/*")):
            unlock = ["snakemake", "--unlock", "--quiet"]
            subprocess.run(unlock, cwd=folder, env=self._environment, check=True)
        with (folder / "said").open("wb") as said:
            return subprocess.Popen(
                ["snakemake", "--cores", "2", "--rerun-incomplete", "--", *targets],
                cwd=folder,
                env={**self._environment, **more},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            )

    def _run_again(self, folder: Path, targets: Sequence[str]) -> list[str]:
        try:
            code = self._snakemake(folder, targets).wait(BACKSTOP_S)
        except subprocess.TimeoutExpired:
            return [f"started again the run does not end within {BACKSTOP_S:g} s"]
        said = (folder / "said").read_text(errors="replace")
        return [f"started again the run ends with {code}: {said[-3000:]}"] if code else []


def is_in(path: str, folder: str) -> bool:
    """Whether a path lies below a folder."""
    return path.startswith(f"{folder}/")


def table(outcomes: Sequence[Outcome]) -> str:
    """Return outcomes by stage and kind: trials, of them unnoticed and resumed, as Markdown."""
    came = [outcome for outcome in outcomes if outcome.end != "missed"]
    kinds = list(dict.fromkeys(outcome.kind for outcome in sorted(came, key=lambda o: o.kind)))
    rows = ["| stage | " + " | ".join(kinds) + " | all |", "|---|" + "---:|" * (len(kinds) + 1)]

    def cell(chosen: Callable[[Outcome], bool]) -> str:
        ends = Counter(outcome.end for outcome in came if chosen(outcome))
        return f"{ends.total()} ({ends['unnoticed']}/{ends['resumed']})" if ends else "-"

    for stage in sorted({outcome.stage for outcome in came}):
        cells = [cell(lambda o, s=stage, k=kind: (o.stage, o.kind) == (s, k)) for kind in kinds]
        rows.append(f"| {stage} | {' | '.join(cells)} | {cell(lambda o, s=stage: o.stage == s)} |")
    cells = [cell(lambda o, k=kind: o.kind == k) for kind in kinds]
    rows.append(f"| all | {' | '.join(cells)} | {cell(lambda o: True)} |")
    return "\n".join(rows)

"""Records of runs: what was asked for, with which code and packages, and what its jobs did.

A run that makes something has two files in ``results/provenance/``: ``{run}.json``, and
``{run}.jobs.jsonl.gz`` with one line a job. Both are written when the run starts, when nothing is
known of its jobs but that they are planned, and again when it ends, with what the jobs have said
in their logs (``job_log``). A run that was killed is completed by the next one.

Runs are named by the time of their start, but a name comes behind all that are there, whatever the
clock says: the order of the names is that of the runs. No record stops a run: one that is damaged
is named and left as it is.
"""

import gzip
import importlib.metadata
import json
import logging
import os
import platform
import re
import secrets
import socket
import subprocess
import time
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_type_hints

from capsynth.errors import CapsynthError
from capsynth.files import atomic_path, dump_json, read_json, write_json
from capsynth.fingerprints import file_digest, fingerprint
from capsynth.job_lines import whole_job_lines
from capsynth.job_log import utc
from capsynth.settings import fits

log = logging.getLogger(__name__)

FOLDER = Path("results/provenance")
# Outcomes of a run; of one that is RUNNING nothing has been heard yet.
RUNNING, SUCCESS, FAILED, KILLED = "running", "success", "failed", "killed"
OUTCOMES = (RUNNING, SUCCESS, FAILED, KILLED)
CHECKSUM = "checksum"  # of a record, its other values: one wrong bit must not pass for another run
_STAMP = "%Y%m%dT%H%M%SZ"
_NAME = re.compile(r"(?P<stamp>\d{8}T\d{6}Z)-[0-9a-f]{6}")

# Waiting for a file system of a cluster takes longer than reading.
_READERS = 16
_SECRET = re.compile(r"(?i)((?:token|secret|password|passwd|credential|key)[\w-]*)=(\S+)")
_SECRET_OPTION = re.compile(r"(?i)--[\w-]*(?:token|secret|password|credential|access-key)[\w-]*")
_HIDDEN = "<hidden>"
# The user and password of an address, and what gives access in its query.
_URL_USER = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)[^\s/?#\"'\\]+@")
_URL_QUERY = re.compile(
    r"(?i)([?&][\w.-]*(?:token|secret|passw|credential|key|sig|auth)[\w.-]*=)[^&\s\"'\\]+"
)
# Variables by which git looks elsewhere: those of a hook in which a run was started.
_GIT_ELSEWHERE = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR"}
_GIT_ELSEWHERE |= {"GIT_OBJECT_DIRECTORY", "GIT_PREFIX", "GIT_NAMESPACE"}


@dataclass(frozen=True)
class Job:
    """A job of a run.

    Attributes:
        rule: Its rule.
        wildcards: Values of its wildcards.
        log: Its log; None if it has none.
        outputs: What it makes.
        attempt: Which attempt it was, from 1; None if that is not known.
        done: Whether it ended well.
        host: Where it ran; None, as what follows, if it did not start.
        slurm_job_id: The SLURM job that it ran in, if it ran in one.
        start: When it started, ISO 8601 in UTC.
        wall_s: How long it took; None, as what follows, if it was killed.
        cpu_s: CPU time, of all its processes.
        peak_memory_mb: Peak memory of its largest process, 10^6 bytes.
        gpu: The GPU that it used, if it used one.
        exit_code: What it ended with.
        sha256: SHA-256 of each file of its outputs, by path, as it left them.
    """

    rule: str
    wildcards: dict[str, str]
    log: str | None
    outputs: tuple[str, ...]
    attempt: int | None = None
    done: bool = False
    host: str | None = None
    slurm_job_id: str | None = None
    start: str | None = None
    wall_s: float | None = None
    cpu_s: float | None = None
    peak_memory_mb: int | None = None
    gpu: str | None = None
    exit_code: int | None = None
    sha256: dict[str, str] | None = None


@dataclass(frozen=True)
class Run:
    """What is known of a run when it starts.

    Attributes:
        command: The command line.
        config: The configuration, completed.
        executor: Snakemake's executor.
        profiles: Names of the profiles.
        repository: The folder of the workflow.
        jobs: What is planned.
        code: Of each script, by its name, the file with the digests of all that it imports.
    """

    command: Sequence[str]
    config: Mapping[str, Any]
    executor: str
    profiles: Sequence[str]
    repository: Path
    jobs: Sequence[Job]
    code: Mapping[str, Path]


def start_run(run: Run, folder: Path = FOLDER) -> str:
    """Write the record of a run that starts, and return its name.

    Only one run works in a folder at a time, so what another record calls running was killed: it
    is completed first, while the logs of its jobs are still there.
    """
    names = run_names(folder)
    for name in names:
        try:
            if read_run(name, folder)["outcome"] == RUNNING:
                _complete(name, KILLED, read_jobs(name, folder), folder, end=None)
        except CapsynthError as error:
            log.warning("%s", error)
    now = time.time()
    name = _new_name(now, names)
    config = without_private(run.config)
    record = {
        "code": {script: file_digest(path) for script, path in sorted(run.code.items())},
        "command": without_private([Path(run.command[0]).name, *hide_secrets(run.command[1:])]),
        "config": config,
        "config_fingerprint": fingerprint(config),
        "end": None,
        "executor": run.executor,
        "git": git_state(run.repository),
        "host": socket.gethostname(),
        "jobs": {"planned": _by_rule(run.jobs), "done": {}, "failed": {}},
        "outcome": RUNNING,
        "packages": package_versions(run.repository),
        "profiles": without_private(list(run.profiles)),
        "python": platform.python_version(),
        "run": name,
        "start": utc(now),
    }
    _write_jobs(name, run.jobs, folder)
    _write_run(name, record, folder)
    return name


def _new_name(now: float, names: Sequence[str]) -> str:
    """Return the name of a run that starts ``now``, behind those that there are.

    A clock may be wrong, on one host or for a day: what ran later has the later name all the same.
    """
    stamp = datetime.fromtimestamp(now, UTC)
    if names:
        latest = datetime.strptime(_stamp_of(names[-1]), _STAMP).replace(tzinfo=UTC)
        stamp = max(stamp, latest + timedelta(seconds=1))
    return f"{stamp.strftime(_STAMP)}-{secrets.token_hex(3)}"


def end_run(name: str, outcome: str, jobs: Iterable[Job], folder: Path = FOLDER) -> None:
    """Complete the record of a run with what its jobs did.

    Args:
        name: What ``start_run`` returned.
        outcome: ``SUCCESS`` or ``FAILED``.
        jobs: All that was planned; ``done`` and ``attempt`` are as Snakemake has them.
        folder: Where the records are.
    """
    _complete(name, outcome, jobs, folder, end=utc(time.time()))


def _complete(name: str, outcome: str, jobs: Iterable[Job], folder: Path, end: str | None) -> None:
    known = [job for job in gather(name, jobs) if job.done or job.start is not None]
    known.sort(key=lambda job: (job.start or "", job.outputs))
    record = read_run(name, folder)
    record |= {"end": end, "outcome": outcome}
    record["jobs"] |= {
        "done": _by_rule(job for job in known if job.done),
        "failed": _by_rule(job for job in known if not job.done),
    }
    _write_jobs(name, known, folder)
    _write_run(name, record, folder)


def gather(name: str, jobs: Iterable[Job]) -> list[Job]:
    """Return the jobs of a run with what their logs say of them.

    A log of another run says nothing: the job has not started in this one.
    """
    planned = list(jobs)
    with ThreadPoolExecutor(_READERS) as pool:
        logs = pool.map(lambda job: whole_job_lines(job.log, name), planned, chunksize=64)
        return [_with_facts(job, lines) for job, lines in zip(planned, logs, strict=True)]


def _with_facts(job: Job, lines: Sequence[Mapping[str, Any]]) -> Job:
    """Put together what the processes of a job said: one line each at the start and at the end."""
    if not lines:
        return job
    first = lines[0]
    job = replace(job, host=first["host"], slurm_job_id=first["slurm_job_id"], start=first["start"])
    ends = [line for line in lines if "exit_code" in line]
    if {line["pid"] for line in ends} != {line["pid"] for line in lines}:
        return job
    exit_code = max(abs(line["exit_code"]) for line in ends)
    return replace(
        job,
        done=job.done or exit_code == 0,
        wall_s=max(line["wall_s"] for line in ends),
        cpu_s=round(sum(line["cpu_s"] for line in ends), 2),
        peak_memory_mb=round(max(line["peak_memory_mb"] for line in ends)),
        gpu=next((line["gpu"] for line in ends if line["gpu"]), None),
        exit_code=exit_code,
        sha256=_digests_of(job, ends),
    )


def _digests_of(job: Job, ends: Sequence[Mapping[str, Any]]) -> dict[str, str] | None:
    """Return the checksums of a job's outputs; records of older versions have none."""
    said = {path: digest for line in ends for path, digest in line.get("sha256", {}).items()}
    return {path: said[path] for path in job.outputs if path in said} or None


def run_names(folder: Path = FOLDER) -> list[str]:
    """Return the names of all runs, the earliest first; other files are passed over."""
    return sorted(path.stem for path in folder.glob("*.json") if _is_name(path.stem))


def _is_name(name: str) -> bool:
    try:
        datetime.strptime(_stamp_of(name), _STAMP)
    except ValueError:
        return False
    return True


def _stamp_of(name: str) -> str:
    match = _NAME.fullmatch(name)
    return match["stamp"] if match else ""


def read_run(name: str, folder: Path = FOLDER) -> dict[str, Any]:
    """Return the record of a run.

    Raises:
        CapsynthError: If it cannot be read, or is not what was written.
    """
    path = folder / f"{name}.json"
    try:
        record: Any = read_json(path)
        if not isinstance(record, dict) or record.get("outcome") not in OUTCOMES:
            raise ValueError("it is no record of a run")
        if not (isinstance(record.get("jobs"), dict) and isinstance(record.get("config"), dict)):
            raise ValueError("it lacks its jobs or its configuration")
        checksum = record.pop(CHECKSUM, None)  # earlier releases wrote none
        if checksum not in (None, fingerprint(record)):
            raise ValueError("it is not what was written")
    except (OSError, ValueError, RecursionError) as error:
        raise CapsynthError(
            f"{path} is damaged ({error}); it is left out, and may be deleted"
        ) from error
    return record


def _write_run(name: str, record: Mapping[str, Any], folder: Path) -> None:
    write_json(folder / f"{name}.json", {**record, CHECKSUM: fingerprint(record)})


def read_jobs(name: str, folder: Path = FOLDER) -> list[Job]:
    """Return the jobs of a run: all that are planned while it runs, afterwards those that ran.

    Raises:
        CapsynthError: If they cannot be read.
    """
    path = folder / f"{name}.jobs.jsonl.gz"
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            return [_job_of(json.loads(line)) for line in file]
    except (OSError, EOFError, ValueError, RecursionError, zlib.error) as error:
        raise CapsynthError(
            f"{path} is damaged ({error}); it is left out, and may be deleted with {name}.json"
        ) from error


def _job_of(row: Any) -> Job:
    """Return the job of a line of JSON.

    Raises:
        ValueError: If it is none.
    """
    if not isinstance(row, dict):
        raise ValueError("a line is no JSON object")
    row = {"log": None, **row}  # what is None is not written
    for name, kind in _JOB.items():
        if name in row and not fits(row[name], kind):
            raise ValueError(f"the {name} of a job is {str(row[name])[:40]!r}")
    needed = {"rule", "wildcards", "outputs"} - row.keys()
    if needed or row.keys() - _JOB.keys():
        raise ValueError(f"the keys of a job are {', '.join(sorted(row))[:200]}")
    return Job(**{**row, "outputs": tuple(row["outputs"])})


_JOB = get_type_hints(Job)


def _write_jobs(name: str, jobs: Iterable[Job], folder: Path) -> None:
    rows = ({k: v for k, v in vars(job).items() if v is not None} for job in jobs)
    text = without_private("".join(dump_json(row) + "\n" for row in rows))
    with atomic_path(folder / f"{name}.jobs.jsonl.gz") as temporary:
        temporary.write_bytes(gzip.compress(text.encode(), compresslevel=3))


def _by_rule(jobs: Iterable[Job]) -> dict[str, int]:
    return dict(Counter(job.rule for job in jobs))


def without_private(value: Any) -> Any:
    """Return a JSON value whose paths begin at the working directory, or at ``~``.

    Addresses in it have no passwords and no keys.
    """
    places = {os.getcwd(): ".", os.path.expanduser("~"): "~"}
    return _shortened(value, {place: to for place, to in places.items() if len(place) > 1})


def _shortened(value: Any, places: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        for place, to in places.items():
            if place in value:
                value = re.sub(re.escape(place) + r"(?=$|[^\w.-])", to, value)
        # A path that is no UTF-8 cannot stand in a file that is.
        return hide_in_urls(value).encode(errors="backslashreplace").decode()
    if isinstance(value, Mapping):
        return {_shortened(k, places): _shortened(v, places) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_shortened(one, places) for one in value]
    return value


def hide_in_urls(text: str) -> str:
    """Return ``text`` without what gives access in the addresses it holds."""
    if "://" not in text:
        return text
    return _URL_QUERY.sub(rf"\1{_HIDDEN}", _URL_USER.sub(rf"\1{_HIDDEN}@", text))


def hide_secrets(words: Iterable[str]) -> list[str]:
    """Return a command line without its secrets: values of such names, and those in addresses."""
    shown: list[str] = []
    for word in words:
        if shown and _SECRET_OPTION.fullmatch(shown[-1]) and not word.startswith("--"):
            shown.append(_HIDDEN)
        else:
            shown.append(_SECRET.sub(rf"\1={_HIDDEN}", hide_in_urls(word)))
    return shown


def profile_names(
    command: Sequence[str], variable: str | None, folders: Iterable[Path]
) -> list[str]:
    """Return the names of the profiles that a command line of Snakemake uses.

    Args:
        command: The command line.
        variable: ``SNAKEMAKE_PROFILE``, which counts if no profile is named.
        folders: Where ``profiles/default`` may be, which counts if no workflow profile is named.
    """
    given: dict[str, list[str]] = {"--profile": [], "--workflow-profile": []}
    for word, following in zip(command, [*command[1:], ""], strict=True):
        option, equals, value = word.partition("=")
        if option in given:
            given[option].append(value if equals else following)
    general = given["--profile"] or (variable.split() if variable else [])
    own = given["--workflow-profile"][-1:]
    if not own and any((folder / "profiles" / "default").is_dir() for folder in folders):
        own = ["profiles/default"]
    return [name for name in (*general, *own) if name != "none"]


def package_versions(repository: Path) -> dict[str, str | None]:
    """Return the versions of the packages that the workflow asks for, None if one is missing."""
    versions: dict[str, str | None] = {}
    for path in sorted(repository.glob("requirements*.txt")):
        if path.stem == "requirements-dev":
            continue
        for name in re.findall(r"^([A-Za-z0-9_.-]+)==", path.read_text(encoding="utf-8"), re.M):
            try:
                versions[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                versions[name] = None
    return versions


def git_state(repository: Path) -> dict[str, Any]:
    """Return the commit and whether files differ from it; None of both, and why, without one."""
    environment = {name: v for name, v in os.environ.items() if name not in _GIT_ELSEWHERE}

    def ask(*words: str) -> str:
        done = subprocess.run(
            ["git", "--no-optional-locks", "-C", repository, *words],
            capture_output=True,
            text=True,
            errors="replace",
            env={**environment, "LC_ALL": "C"},
        )
        if done.returncode != 0:
            raise OSError(" ".join(done.stderr.split()) or f"git ended with {done.returncode}")
        return done.stdout.strip()

    try:
        commit = ask("rev-parse", "HEAD")
        if not ask("ls-files"):
            raise OSError("the workflow lies in a repository that does not hold it")
        return {"commit": commit, "dirty": ask("status", "-s", "--untracked-files=no") != ""}
    except OSError as error:
        return {"commit": None, "dirty": None, "why": without_private(str(error))}

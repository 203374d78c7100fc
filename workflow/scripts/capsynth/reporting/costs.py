"""What each stage costs, from benchmarks, logs and results, as rows of costs.csv."""

import csv
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from capsynth.errors import CapsynthError
from capsynth.files import read_json, read_json_lines
from capsynth.integrity import check_size
from capsynth.job_lines import kept_wall_s, last_words
from capsynth.parquet import count_rows
from capsynth.prompting import DROPPED
from capsynth.records import csv_text
from capsynth.shards import REJECTED

HOUR_S = 3600.0
# Samples that have no image, in manifests and prompts.
WITHOUT_IMAGE = (REJECTED, DROPPED)


@dataclass(frozen=True)
class MeasuredJob:
    """A job that has been run.

    Attributes:
        stage: Its rule.
        name: What it was for: a variant, a captioner, a training set, an evaluation set; empty for
            real images.
        recipe: Its recipe, empty where there is none.
        threads: Threads that it was given.
        gpus: GPUs that it asked for.
        benchmark: Its benchmark.
        log: Its log.
        outputs: What it makes.
    """

    stage: str
    name: str
    recipe: str
    threads: int
    gpus: int
    benchmark: str
    log: str
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class CostRow:
    """One row of costs.csv: all jobs of a stage that were for the same.

    Attributes:
        stage: The rule.
        name: What its jobs were for, as in ``MeasuredJob``.
        recipe: The recipe, empty where there is none.
        jobs: Number of jobs.
        wall_s: Sum of their wall times, seconds.
        cpu_s: Sum of their CPU times, seconds; None where a job did not tell.
        core_hours: Sum of wall times, each times the threads that the job was given.
        gpu_hours: The same times the GPUs of jobs that used any; 0 if none did, None where a job
            did not tell.
        energy_wh: Energy, watt hours; None where a job did not tell.
        peak_memory_mb: Peak memory of the largest of their processes, 10^6 bytes; None where a job
            did not tell.
        images: Images that were made or read, of a training over all epochs; None where a stage has
            none.
        images_per_s: Images over ``wall_s``: of one job at a time, its start included.
        disk_bytes: Size of what they made.
    """

    stage: str
    name: str
    recipe: str
    jobs: int
    wall_s: float
    cpu_s: float | None
    core_hours: float
    gpu_hours: float | None
    energy_wh: float | None
    peak_memory_mb: float | None
    images: int | None
    images_per_s: float | None
    disk_bytes: int


def read_jobs(path: Path) -> list[MeasuredJob]:
    """Read jobs, one JSON object a line.

    Raises:
        CapsynthError: If a line has unknown or missing fields.
    """
    try:
        return [
            MeasuredJob(**{**row, "outputs": tuple(row["outputs"])})
            for row in read_json_lines(path)
        ]
    except (KeyError, TypeError) as error:
        raise CapsynthError(f"{path}: {error}; let Snakemake write it again") from error


def measure_costs(jobs: Iterable[MeasuredJob]) -> list[CostRow]:
    """Return what the jobs cost, one row a stage and what it was for, in the order of the jobs.

    Wall times are those of the attempt that finished a job, and of what it took over from earlier
    ones (an evaluation that runs again for one new set), whose energy is not known. CPU time,
    whether it used a GPU, and its energy are what it said of itself in its log: the benchmark of a
    job that runs beside a warm server knows its client only.
    """
    groups: dict[tuple[str, str, str], list[MeasuredJob]] = defaultdict(list)
    for job in jobs:
        groups[job.stage, job.name, job.recipe].append(job)
    return [_cost(*names, its_jobs) for names, its_jobs in groups.items()]


def _cost(stage: str, name: str, recipe: str, jobs: Sequence[MeasuredJob]) -> CostRow:
    walls = [wall_s(Path(job.benchmark)) + kept_wall_s(job.log) for job in jobs]
    said = [last_words(job.log) for job in jobs]
    gpu = [
        wall * job.gpus * any(words["gpu"] for words in its_words) if its_words else None
        for job, wall, its_words in zip(jobs, walls, said, strict=True)
    ]
    images = [n for job in jobs for path in job.outputs if (n := images_in(Path(path))) is not None]
    whole = sum(walls)
    return CostRow(
        stage=stage,
        name=name,
        recipe=recipe,
        jobs=len(jobs),
        wall_s=whole,
        cpu_s=total(_cpu_s(its_words) for its_words in said),
        core_hours=sum(w * job.threads for w, job in zip(walls, jobs, strict=True)) / HOUR_S,
        gpu_hours=scaled(total(gpu), 1 / HOUR_S),
        energy_wh=scaled(total(map(_energy_j, said)), 1 / HOUR_S),
        peak_memory_mb=largest(
            words.get("peak_memory_mb") for its_words in said for words in its_words or [{}]
        ),
        images=sum(images) if images else None,
        images_per_s=sum(images) / whole if images and whole > 0 else None,
        disk_bytes=sum(disk_bytes(Path(path)) for job in jobs for path in job.outputs),
    )


def wall_s(benchmark: Path) -> float:
    """Return the seconds that a job took.

    Raises:
        CapsynthError: If its benchmark is none of Snakemake.
    """
    try:
        (row,) = csv.DictReader(csv_text(benchmark), delimiter="\t")
        return float(row["s"])
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise CapsynthError(
            f"{benchmark}: no benchmark of Snakemake; delete it and run again"
        ) from error


def _said(words: Sequence[Mapping[str, Any]], name: str) -> float | None:
    """Return the sum of what the processes of a job said; None if one said nothing."""
    return total(one.get(name) for one in words) if words else None


def _cpu_s(words: Sequence[Mapping[str, Any]]) -> float | None:
    own = _said(words, "cpu_s")
    return None if own is None else own + sum(one.get("kept_cpu_s", 0.0) for one in words)


def _energy_j(words: Sequence[Mapping[str, Any]]) -> float | None:
    """Return the energy of a job; None if it was not told, or is not that of all it has made."""
    has_kept = any(one.get("kept_wall_s") for one in words)
    return None if has_kept else _said(words, "energy_j")


def total(values: Iterable[float | None]) -> float | None:
    """Return the sum; None if one of them is not known."""
    known = list(values)
    return None if None in known else float(sum(value or 0.0 for value in known))


def largest(values: Iterable[float | None]) -> float | None:
    """Return the largest; None if one of them is not known."""
    known = list(values)
    return None if None in known else float(max(value or 0.0 for value in known))


def scaled(value: float | None, by: float) -> float | None:
    """Return ``by`` times a value; None if it is not known."""
    return None if value is None else by * value


def images_in(path: Path) -> int | None:
    """Return the images that a result tells of; None if it tells of none.

    Lines of a manifest, of captions and of prompts that have an image; rows of predictions; images
    that a training has seen.
    """
    match path.suffix:
        case ".jsonl":
            return sum(row.get("status") not in WITHOUT_IMAGE for row in read_json_lines(path))
        case ".parquet":
            return count_rows(path)
        case ".json":
            history = read_json(path)
            if isinstance(history, dict) and {"epochs", "images"} <= history.keys():
                return int(history["images"]) * len(history["epochs"])
    return None


def disk_bytes(path: Path) -> int:
    """Return the size of a file, or of all files in a folder; 0 if it is not there any more."""
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return check_size(path) if path.exists() else 0

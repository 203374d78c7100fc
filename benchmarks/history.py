"""Results of benchmarks as files: a history as CSV, the newest of each as a Markdown table."""

import csv
import os
import platform
import subprocess
from collections.abc import Iterable
from dataclasses import asdict, fields
from importlib.metadata import version
from pathlib import Path

from benchmarks.harness import Result

RESULTS = Path(__file__).resolve().parent / "results"
HISTORY = "history.csv"
TABLE = "README.md"
PACKAGES = ("torch", "diffusers", "transformers", "snakemake", "numpy")
OF_RUN = ("date", "commit", "machine", "versions")
NAMES = [field.name for field in fields(Result)]


def machine() -> str:
    """Return the processor and the number of its cores that may be used."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
        model = next((line.split(":")[1].strip() for line in lines if "model name" in line), model)
    return f"{model}, {len(os.sched_getaffinity(0))} cores"


def commit() -> str:
    """Return the commit that is checked out, with a plus if files differ from it; results may."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], capture_output=True, text=True, check=False)
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--", ":/", f":(exclude){RESULTS}")
    return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")


def add_to_history(folder: Path, date: str, results: Iterable[Result]) -> None:
    """Append results to the history."""
    versions = " ".join(f"{package} {version(package)}" for package in PACKAGES)
    of_run = dict(zip(OF_RUN, (date, commit(), machine(), versions), strict=True))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / HISTORY
    is_new = not path.exists()
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [*OF_RUN, *NAMES], lineterminator="\n")
        if is_new:
            writer.writeheader()
        for result in results:
            row = {
                name: f"{value:.6g}" if isinstance(value, float) else value
                for name, value in asdict(result).items()
            }
            writer.writerow({**of_run, **row})


def write_table(folder: Path) -> None:
    """Write the newest result of every benchmark and way as a table."""
    with (folder / HISTORY).open(encoding="utf-8", newline="") as file:
        newest = {(row["benchmark"], row["way"]): row for row in csv.DictReader(file)}
    lines = [
        "# Benchmarks",
        "",
        "Made by `make bench`; `history.csv` has all runs. Ways to do the same work run",
        "in turns; a time is the median of the rounds, with the shortest and the longest. The",
        "ratio is capsynth's rate over the other way's: the median over rounds, the lowest and the",
        "highest.",
        "Memory is the peak of the largest process.",
        "",
        "| benchmark | way | seconds | rate | ratio | MB | aim | commit, date |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in newest.values():
        numbers = {
            name: float(row[name])
            for name in NAMES
            if name not in ("benchmark", "way", "unit") and row[name]
        }
        memory = f"{numbers['peak_mb']:.0f}" if "peak_mb" in numbers else ""
        aims = [
            aim.format(numbers[name])
            for name, aim in (("bound", "≥ {:g}"), ("most_s", "≤ {:g} s"), ("most_mb", "≤ {:g} MB"))
            if name in numbers
        ]
        lines.append(
            f"| {row['benchmark']} | {row['way']} "
            f"| {numbers['median_s']:.3g} ({numbers['low_s']:.3g} to {numbers['high_s']:.3g}) "
            f"| {numbers['rate']:.3g} {row['unit']}/s "
            f"| {numbers['ratio']:.2f} ({numbers['ratio_low']:.2f} to {numbers['ratio_high']:.2f}) "
            f"| {memory} | {', '.join(aims)} | {row['commit']}, {row['date']} |"
        )
    machines = dict.fromkeys((row["machine"], row["versions"]) for row in newest.values())
    lines += ["", *(f"On {name}, {versions}." for name, versions in machines), ""]
    (folder / TABLE).write_text("\n".join(lines), encoding="utf-8")

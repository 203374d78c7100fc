"""What docs/scaling.md counts is what Snakemake plans."""

import copy
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from benchmarks.scaling import plan_of_five_variants, stages


@pytest.mark.slow
def test_the_simulated_jobs_are_those_of_the_plan(tmp_path: Path) -> None:
    planned = Counter(job.rule for job in plan_of_five_variants(tmp_path / "checkout").jobs)
    simulated: Counter[str] = Counter()
    for stage in stages():
        simulated[stage.name.partition(",")[0]] += stage.jobs
    del simulated["report"]
    assert {rule: planned[rule] for rule in simulated} == dict(simulated)


def told(experiment: Any, *words: str) -> Counter[str]:
    """Return what a dry run tells of each job, but its number, and in the end."""
    done = experiment.snakemake("-n", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    # What is told of all together is no part of the last job, which may be any.
    ends = r"^(?:\[.+ \d{4}\]|Job stats:)$"
    _, *jobs = re.split(ends, done.stdout + done.stderr, flags=re.MULTILINE)
    # Some lists of files are sets, and have no order.
    return Counter(
        "\n".join(
            " ".join(sorted(re.split("[ ,]+", line)))
            for line in job.split("\n")
            if not line.startswith("    jobid: ")
        )
        for job in jobs
    )


@pytest.mark.parametrize("words", [(), ("--forceall",), ("--until", "train_classifier")])
def test_what_makes_planning_shorter_changes_no_job_and_no_reason(
    experiment: Any, words: tuple[str, ...]
) -> None:
    folder = experiment.folder
    image = next((folder / "results/openmoji/source/bat").glob("*.png"))
    image.write_bytes(image.read_bytes()[:-40])
    next((folder / "results/openmoji/captions").rglob("car-0.jsonl")).unlink()
    config = copy.deepcopy(experiment.config)
    config["recipes"]["tiny"]["weight_decay"] = 0.125
    experiment.write_config(config)
    shorter = told(experiment, *words)
    assert sum(shorter.values()) > 10
    (folder / "workflow" / "rules" / "planning.smk").write_text("")
    assert told(experiment, *words) == shorter

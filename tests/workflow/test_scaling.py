"""What docs/scaling.md counts is what Snakemake plans."""

from collections import Counter
from pathlib import Path

import pytest
from benchmarks.scaling import EVAL_IMAGES, plan_of_five_variants, stages


@pytest.mark.slow
def test_the_simulated_jobs_are_those_of_the_plan(tmp_path: Path) -> None:
    planned = Counter(job.rule for job in plan_of_five_variants(tmp_path / "checkout").jobs)
    simulated: Counter[str] = Counter()
    for stage in stages():
        simulated[stage.name.partition(",")[0]] += stage.jobs
    # A run's answers to all evaluation sets are one submission.
    simulated["evaluate_classifier"] *= len(EVAL_IMAGES)
    del simulated["report"]
    assert {rule: planned[rule] for rule in simulated} == dict(simulated)

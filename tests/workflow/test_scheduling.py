"""What planning and scheduling cost: no more passes than jobs end, no text that nobody sees."""

import re
import sys
from typing import Any

import pytest

# Counts the passes that the scheduler asks for by a timer.
COUNTED = """\
import re
import sys
from snakemake.cli import main
from snakemake.scheduling.job_scheduler import JobScheduler
asked = 0
ask = JobScheduler._schedule_reevalutation
def count(self, delay):
    global asked
    asked += 1
    ask(self, delay)
JobScheduler._schedule_reevalutation = count
try:
    main(sys.argv[1:])
finally:
    print(f"asked for {asked} passes")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "asks"), [((), False), (("--max-jobs-per-timespan", "50/1s"), True)]
)
def test_no_timer_calls_the_scheduler_unless_a_limit_was_asked_for(
    experiment: Any, words: tuple[str, ...], asks: bool
) -> None:
    (experiment.folder / "results/scores.csv").unlink()
    done = experiment.call(
        sys.executable, "-c", COUNTED, "--cores", "2", *words, "results/scores.csv"
    )
    assert done.returncode == 0, done.stderr
    assert ("asked for 0 passes" not in done.stdout) == asks


@pytest.mark.slow
def test_a_quiet_dry_run_counts_jobs_and_a_loud_one_tells_of_each(experiment: Any) -> None:
    (experiment.folder / "results/scores.csv").unlink()
    loud = experiment.snakemake("-n", "results/scores.csv")
    quiet = experiment.snakemake("results/scores.csv", "-n", "--quiet", "rules")
    assert (loud.returncode, quiet.returncode) == (0, 0), quiet.stderr
    said, counted = loud.stdout + loud.stderr, quiet.stdout + quiet.stderr
    assert "rule collect_scores:" in said
    assert "output: results/scores.csv" in said
    assert "rule collect_scores:" not in counted
    assert re.search(r"^collect_scores +1$", counted, flags=re.MULTILINE)

"""Start-up: a fresh interpreter up to the first line of a script's main, imports included.

Each script is asked for its help. The first way is Python itself: the ratio of a script says how
many times as long it takes.
"""

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.harness import Benchmark, run_measured

SCRIPTS = Path(__file__).resolve().parents[1] / "workflow" / "scripts"
# Not started by jobs, but once a run or by hand.
BY_HAND = ("supervise", "trace", "run_sweep", "report_changes", "report_estimate", "report_status")


def benchmarks(work: Path) -> Iterator[Benchmark]:
    """Yield one benchmark with a way for each script that jobs start."""
    starts = {"python -c pass": ["-c", "pass"]}
    for script in sorted(SCRIPTS.glob("*.py")):
        if script.stem not in BY_HAND:
            starts[script.stem] = [str(script), "--help"]
    yield Benchmark(
        "start-up",
        "starts",
        {
            name: partial(run_measured, [sys.executable, *words], 1.0)
            for name, words in starts.items()
        },
    )

"""Measure capsynth against other ways to do the same work: python -m benchmarks."""

import argparse
import datetime
import importlib
import tempfile
from pathlib import Path

from benchmarks.harness import measure
from benchmarks.history import add_to_history, write_table

ROOT = Path(__file__).resolve().parents[1]
# A module each, with ``benchmarks(work: Path) -> Iterator[Benchmark]``.
TOPICS = ("metrics", "start_up", "workflow")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=TOPICS, default=TOPICS)
    parser.add_argument("--rounds", type=int, default=5, help="measured rounds of every benchmark")
    parser.add_argument("--output-dir", type=Path, default=ROOT / "benchmarks" / "results")
    args = parser.parse_args()
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    for topic in args.only:
        module = importlib.import_module(f"benchmarks.{topic}")
        with tempfile.TemporaryDirectory() as work:
            for benchmark in module.benchmarks(Path(work)):
                print(f"{benchmark.name}: {', '.join(benchmark.ways)}", flush=True)
                add_to_history(args.output_dir, date, measure(benchmark, args.rounds))
    write_table(args.output_dir)


if __name__ == "__main__":
    main()

"""Measure capsynth against other ways to do the same work: make bench."""

import argparse
import datetime
import importlib
import tempfile
from pathlib import Path

from benchmarks.harness import measure
from benchmarks.history import RESULTS, add_to_history, write_table

ROOT = Path(__file__).resolve().parents[1]
# A module each, with ``benchmarks(work, config_file) -> Iterator[Benchmark]``.
OF_MODELS = ("generation", "captioning", "reading", "training")
# A module each, with ``benchmarks(work) -> Iterator[Benchmark]``.
OTHERS = ("metrics", "start_up", "workflow")
TOPICS = (*OF_MODELS, *OTHERS)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=TOPICS, default=TOPICS)
    parser.add_argument(
        "--configfile",
        type=Path,
        default=ROOT / "config.yaml",
        help=f"names the models and settings of {', '.join(OF_MODELS)}",
    )
    parser.add_argument(
        "--matching", default="", metavar="TEXT", help="only benchmarks with this in their name"
    )
    parser.add_argument("--rounds", type=int, default=5, help="measured rounds of every benchmark")
    parser.add_argument("--output-dir", type=Path, default=RESULTS)
    args = parser.parse_args()
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    for topic in args.only:
        module = importlib.import_module(f"benchmarks.{topic}")
        with tempfile.TemporaryDirectory() as work:
            config = (args.configfile,) if topic in OF_MODELS else ()
            for benchmark in module.benchmarks(Path(work), *config):
                if args.matching not in benchmark.name:
                    continue
                print(f"{benchmark.name}: {', '.join(benchmark.ways)}", flush=True)
                add_to_history(args.output_dir, date, measure(benchmark, args.rounds))
    write_table(args.output_dir)


if __name__ == "__main__":
    main()

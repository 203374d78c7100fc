"""Evaluate one classifier on all evaluation sets; what is answered already is taken over."""

import argparse
import functools
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.evaluation_jobs import Run, evaluate_on_sets, read_view
from capsynth.settings import settings_from_json


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", required=True, help="JSON of evaluation_jobs.Run")
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument(
        "--views", type=Path, nargs="+", required=True, help="JSON of evaluation_jobs.EvalView each"
    )
    parser.add_argument("--code", type=Path, help="digests of the code, part of what is kept")
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--outputs", type=Path, nargs="+", required=True, help="one a view")
    args = parser.parse_args(argv)
    evaluate_on_sets(
        settings_from_json(Run, args.run),
        args.checkpoint,
        [read_view(path) for path in args.views],
        args.outputs,
        args.code,
        args.batch_size,
        args.workers,
        functools.partial(cli.set_threads, args.threads),
    )


if __name__ == "__main__":
    sys.exit(cli.run(main))

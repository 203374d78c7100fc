"""Measure the accuracy of the probes of all runs."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.reporting.probes import measure_probes
from capsynth.reporting.scores import write_scores


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, fromfile_prefix_chars="@")
    parser.add_argument("--predictions", type=Path, nargs="+", required=True)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args(argv)
    write_scores(args.output, measure_probes(args.predictions))


if __name__ == "__main__":
    sys.exit(cli.run(main))

"""Draw the captioned web that the embedded models learn from."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.pretraining.web import render_web


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--output", type=Path, required=True, help="folder")
    args = parser.parse_args(argv)
    render_web(args.output, args.scenes, args.seed, args.processes)


if __name__ == "__main__":
    sys.exit(cli.run(main))

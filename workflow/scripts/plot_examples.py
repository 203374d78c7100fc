"""Show the evaluation images on which one training set gains or loses most over another."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.reporting.examples import make_examples


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, fromfile_prefix_chars="@")
    parser.add_argument("--predictions", type=Path, nargs="+", required=True)
    parser.add_argument(
        "--eval-set", nargs=3, action="append", required=True, metavar=("NAME", "TAR", "MANIFEST")
    )
    parser.add_argument(
        "--comparison", nargs=2, required=True, metavar=("A", "B"), help="A minus B"
    )
    parser.add_argument("--images", type=int, default=160, help="images at most")
    parser.add_argument("--output", type=Path, required=True, help="HTML page")
    args = parser.parse_args(argv)
    eval_sets = {name: (Path(tar), Path(manifest)) for name, tar, manifest in args.eval_set}
    comparison = tuple(args.comparison)
    make_examples(args.predictions, eval_sets, comparison, args.images, args.output)


if __name__ == "__main__":
    sys.exit(cli.run(main))

"""Measure the images, steps and epochs of all trainings."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.records import write_records
from capsynth.reporting.budgets import Budget, Mix, Training, measure_budgets
from capsynth.shares import parse_share


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, fromfile_prefix_chars="@")
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--class-ids", nargs="+", required=True)
    parser.add_argument("--parts-per-class", type=int, default=1)
    parser.add_argument("--real", nargs="*", default=[], help="training sets with real images")
    parser.add_argument(
        "--synthetic", nargs=3, action="append", default=[], metavar=("NAME", "FOLDER", "SHARE"),
        help="synthetic images of a training set",
    )  # fmt: skip
    parser.add_argument(
        "--training", nargs=4, action="append", required=True,
        metavar=("NAME", "RECIPE", "BATCH_SIZE", "HISTORY"),
    )  # fmt: skip
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args(argv)
    mixes = {
        name: Mix(
            name in args.real,
            {
                Path(folder): parse_share(share)
                for of, folder, share in args.synthetic
                if of == name
            },
        )
        for name, *_ in args.training
    }
    trainings = [
        Training(name, recipe, int(batch_size), Path(history))
        for name, recipe, batch_size, history in args.training
    ]
    rows = measure_budgets(args.dataset, trainings, mixes, args.class_ids, args.parts_per_class)
    write_records(args.output, Budget, rows)


if __name__ == "__main__":
    sys.exit(cli.run(main))

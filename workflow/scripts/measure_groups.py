"""Measure all runs on the groups of evaluation sets: class and an attribute, such as background."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.groups import GroupSettings
from capsynth.reporting.group_scores import measure_groups
from capsynth.reporting.scores import write_scores
from capsynth.settings import settings_from_json


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, fromfile_prefix_chars="@")
    parser.add_argument("--predictions", type=Path, nargs="+", required=True)
    parser.add_argument(
        "--eval-set",
        nargs=3,
        action="append",
        required=True,
        metavar=("NAME", "MANIFEST", "GROUPS"),
        help="GROUPS: JSON of groups.GroupSettings",
    )
    parser.add_argument(
        "--least-images", type=int, required=True, help="smaller groups are never the worst"
    )
    parser.add_argument("--draws", type=int, default=1000, help="bootstrap replicates")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args(argv)
    sets = {
        name: (Path(manifest), settings_from_json(GroupSettings, text))
        for name, manifest, text in args.eval_set
    }
    write_scores(args.output, measure_groups(args.predictions, sets, args.least_images, args.draws))


if __name__ == "__main__":
    sys.exit(cli.run(main))

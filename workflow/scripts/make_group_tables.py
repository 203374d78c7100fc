"""Write the tables of groups."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.reporting.scores import read_scores
from capsynth.reporting.settings import ReportSettings
from capsynth.reporting.subgroup_tables import group_accuracy_table, group_table
from capsynth.reporting.tables import write_table
from capsynth.settings import settings_from_json


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--groups", type=Path, required=True)
    parser.add_argument("--eval-sets", nargs="+", required=True, help="in the order of the rows")
    parser.add_argument("--least-images", type=int, required=True)
    parser.add_argument("--config-json", required=True, help="JSON of settings.ReportSettings")
    parser.add_argument("--output-dir", type=Path, required=True)
    args = parser.parse_args(argv)
    settings = settings_from_json(ReportSettings, args.config_json)
    rows = read_scores(args.groups)
    write_table(group_table(rows, settings, args.eval_sets, args.least_images), args.output_dir)
    write_table(group_accuracy_table(rows, settings, args.eval_sets), args.output_dir)


if __name__ == "__main__":
    sys.exit(cli.run(main))

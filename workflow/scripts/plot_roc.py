"""Plot the ROC curves of the attacks under one definition of members."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.privacy.membership import DEFINITIONS
from capsynth.privacy.results import CurvePoint
from capsynth.records import read_records
from capsynth.reporting.privacy import plot_roc
from capsynth.reporting.settings import ReportSettings
from capsynth.settings import settings_from_json


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--curves", type=Path, required=True)
    parser.add_argument("--definition", choices=DEFINITIONS, required=True)
    parser.add_argument("--config-json", required=True, help="JSON of settings.ReportSettings")
    parser.add_argument("--output", type=Path, nargs="+", required=True, help=".png and .svg files")
    args = parser.parse_args(argv)
    settings = settings_from_json(ReportSettings, args.config_json)
    points = read_records(args.curves, CurvePoint, "collect_privacy")
    plot_roc(points, settings, args.definition, args.output)


if __name__ == "__main__":
    sys.exit(cli.run(main))

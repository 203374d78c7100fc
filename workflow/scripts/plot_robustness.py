"""Plot accuracy out of distribution against accuracy in distribution."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.records import read_records
from capsynth.reporting.figures import SCALES, plot_robustness
from capsynth.reporting.robustness_scores import LinePoint, RobustnessSettings
from capsynth.reporting.scores import read_scores
from capsynth.reporting.settings import ReportSettings
from capsynth.settings import settings_from_json


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scores", type=Path, required=True)
    parser.add_argument("--config-json", required=True, help="JSON of settings.ReportSettings")
    parser.add_argument("--lines", type=Path, required=True)
    parser.add_argument("--settings", required=True, help="JSON of RobustnessSettings")
    parser.add_argument("--scale", choices=SCALES, default="logit")
    parser.add_argument("--output", type=Path, nargs="+", required=True, help=".png and .svg files")
    args = parser.parse_args(argv)
    settings = settings_from_json(ReportSettings, args.config_json)
    measured = settings_from_json(RobustnessSettings, args.settings)
    lines = read_records(args.lines, LinePoint, "measure_robustness")
    scores = read_scores(args.scores)
    plot_robustness(scores, settings, measured, lines, args.scale, args.output)


if __name__ == "__main__":
    sys.exit(cli.run(main))

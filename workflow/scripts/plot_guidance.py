"""Plot accuracy, precision and recall against the guidance scale."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.records import read_records
from capsynth.reporting.fidelity_rows import FidelityRow
from capsynth.reporting.guidance_figure import GuidanceSettings, plot_guidance
from capsynth.reporting.scores import read_scores
from capsynth.settings import settings_from_json


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scores", type=Path, required=True)
    parser.add_argument("--fidelity", type=Path, required=True)
    parser.add_argument("--config-json", required=True, help="JSON of GuidanceSettings")
    parser.add_argument("--output", type=Path, nargs="+", required=True, help=".png and .svg files")
    args = parser.parse_args(argv)
    rows = read_records(args.fidelity, FidelityRow, "measure_fidelity")
    settings = settings_from_json(GuidanceSettings, args.config_json)
    plot_guidance(read_scores(args.scores), rows, settings, args.output)


if __name__ == "__main__":
    sys.exit(cli.run(main))

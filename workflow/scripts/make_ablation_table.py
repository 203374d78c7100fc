"""Write the table of ablations as CSV, Markdown, LaTeX and HTML."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.reporting.ablations import AblationSettings, make_ablation_table
from capsynth.reporting.budgets import read_budgets
from capsynth.reporting.scores import read_scores
from capsynth.settings import settings_from_json


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scores", type=Path, required=True)
    parser.add_argument("--budgets", type=Path, required=True)
    parser.add_argument("--settings", required=True, help="JSON of AblationSettings")
    parser.add_argument("--output-dir", type=Path, required=True)
    args = parser.parse_args(argv)
    settings = settings_from_json(AblationSettings, args.settings)
    budgets = read_budgets(args.budgets)
    make_ablation_table(read_scores(args.scores), settings, budgets, args.output_dir)


if __name__ == "__main__":
    sys.exit(cli.run(main))

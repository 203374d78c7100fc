"""Write the tables of prompts as CSV, Markdown, LaTeX and HTML."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.records import read_records
from capsynth.reporting.prompt_rows import PromptRow
from capsynth.reporting.prompt_tables import PromptTableSettings, make_prompt_tables
from capsynth.settings import settings_from_json


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=Path, required=True)
    parser.add_argument("--config-json", required=True, help="JSON of PromptTableSettings")
    parser.add_argument("--output-dir", type=Path, required=True)
    args = parser.parse_args(argv)
    rows = read_records(args.prompts, PromptRow, "measure_prompts")
    settings = settings_from_json(PromptTableSettings, args.config_json)
    make_prompt_tables(rows, settings, args.output_dir)


if __name__ == "__main__":
    sys.exit(cli.run(main))

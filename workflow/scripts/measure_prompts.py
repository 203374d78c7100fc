"""Measure what captions add to prompts, and how often judges see another class."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.errors import CapsynthError
from capsynth.records import write_records
from capsynth.reporting.prompt_rows import PromptRow, measure_prompts


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, fromfile_prefix_chars="@")
    parser.add_argument(
        "--prompts", nargs="+", action="append", required=True,
        help="variant and its files of prompts; once a variant",
    )  # fmt: skip
    parser.add_argument("--judgements", type=Path, nargs="*", default=[])
    parser.add_argument("--references", type=Path, nargs="*", default=[])
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args(argv)
    lonely = [words[0] for words in args.prompts if len(words) < 2]
    if lonely:
        raise CapsynthError(f"--prompts {lonely[0]}: give a variant and its files of prompts")
    prompts = {variant: [*map(Path, files)] for variant, *files in args.prompts}
    rows = measure_prompts(prompts, args.judgements, args.references)
    write_records(args.output, PromptRow, rows)


if __name__ == "__main__":
    sys.exit(cli.run(main))

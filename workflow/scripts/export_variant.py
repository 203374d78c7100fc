"""Export a variant as a data set folder that can be published."""

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from capsynth import cli
from capsynth.exporting import ExportSettings, ShardSources, export_variant
from capsynth.settings import settings_from_json


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, fromfile_prefix_chars="@")
    parser.add_argument("--settings", required=True, help="JSON of exporting.ExportSettings")
    parser.add_argument(
        "--class", dest="classes", nargs=2, action="append", default=[], metavar=("ID", "NAME"),
        help="a class, in the order of the indices; beside those of the settings",
    )  # fmt: skip
    parser.add_argument(
        "--shard", type=Path, nargs=3, action="append", required=True,
        metavar=("TAR", "MANIFEST", "PROMPTS"),
    )  # fmt: skip
    parser.add_argument("--output", type=Path, required=True, help="folder")
    args = parser.parse_args(argv)
    settings = settings_from_json(ExportSettings, args.settings)
    settings = replace(settings, classes=(*settings.classes, *args.classes))
    shards = [ShardSources(*paths) for paths in args.shard]
    counts = export_variant(settings, shards, args.output)
    logging.info("%s: %s", args.output, ", ".join(f"{n} {what}" for what, n in counts.items()))


if __name__ == "__main__":
    sys.exit(cli.run(main))

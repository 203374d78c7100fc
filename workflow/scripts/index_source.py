"""Scan a source of few large files and write one small index a class."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.datasets.rows import SourceSettings
from capsynth.datasets.sources import index_source
from capsynth.settings import settings_from_json

log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True, help="JSON of rows.SourceSettings")
    parser.add_argument("--class-ids", nargs="+", required=True)
    parser.add_argument("--source-token", required=True, help="see datasets.sources.index_token")
    parser.add_argument("--output", type=Path, required=True, help="folder of the indices")
    args = parser.parse_args(argv)
    settings = settings_from_json(SourceSettings, args.source)
    counts = index_source(settings, args.class_ids, args.source_token, args.output)
    log.info("indexed %d images of %d classes", sum(counts.values()), len(counts))


if __name__ == "__main__":
    sys.exit(cli.run(main))

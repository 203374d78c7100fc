"""Pack an evaluation set: all its classes in one shard."""

import argparse
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.corruptions import LIBRARIES, CorruptionSettings
from capsynth.datasets.drawn import check_drawn
from capsynth.datasets.layouts import (
    CLASS_FOLDERS,
    CORRUPTION_FOLDERS,
    LAYOUTS,
    UNKNOWN_LAYOUT,
    read_class_map,
)
from capsynth.datasets.rows import SourceSettings
from capsynth.datasets.selection import ALL, Selection
from capsynth.packing import EvalSource, pack_evaluation_set
from capsynth.settings import settings_from_json
from capsynth.source_images import ImageFormat


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--folder", type=Path, nargs="+", help="roots of the class folders")
    where.add_argument("--source", help="JSON of rows.SourceSettings")
    parser.add_argument("--layout", choices=(*LAYOUTS, UNKNOWN_LAYOUT), default=CLASS_FOLDERS)
    parser.add_argument("--class-map", type=Path, help="which classes a folder stands for")
    parser.add_argument("--class-ids", nargs="+", help="of the data set; not of unknown images")
    parser.add_argument("--kept-class-ids", nargs="+", help="those of the set; all by default")
    parser.add_argument("--selection", help="JSON of selection.Selection; all by default")
    parser.add_argument("--format", required=True, help="JSON of packing.ImageFormat")
    parser.add_argument("--corruptions", nargs="*", default=[])
    parser.add_argument("--severities", nargs="*", type=int, default=[])
    parser.add_argument("--corruption-library", choices=LIBRARIES, default=LIBRARIES[0])
    parser.add_argument("--corruption-side", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="processes that corrupt images")
    parser.add_argument("--source-token", required=True, help="see datasets.folder.source_token")
    parser.add_argument("--tar", type=Path, required=True)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--index", type=Path, required=True, help="index of the source files")
    args = parser.parse_args(argv)
    on_disk = args.layout == CORRUPTION_FOLDERS
    corruption = CorruptionSettings(
        args.corruption_library,
        tuple(args.corruptions),
        tuple(args.severities),
        args.corruption_side,
    )
    source: EvalSource | SourceSettings
    if args.folder is None:
        source = settings_from_json(SourceSettings, args.source)
    else:
        source = EvalSource(
            tuple(args.folder),
            args.layout,
            read_class_map(args.class_map) if args.class_map else None,
            tuple(itertools.product(args.corruptions, args.severities)) if on_disk else (),
        )
    class_ids = args.class_ids
    if args.layout == UNKNOWN_LAYOUT and isinstance(source, EvalSource):
        class_ids = list(dict.fromkeys(folder.class_id for folder in source.folders(())))
    elif class_ids is None:
        parser.error("--class-ids is missing: name the classes of the data set")
    pack_evaluation_set(
        source,
        class_ids,
        settings_from_json(ImageFormat, args.format),
        args.source_token,
        args.tar,
        args.manifest,
        args.index,
        args.kept_class_ids,
        settings_from_json(Selection, args.selection) if args.selection else ALL,
        corruption if args.corruptions and not on_disk else None,
        args.threads,
    )
    if args.folder is not None and len(args.folder) == 1:
        check_drawn(args.folder[0], args.index)


if __name__ == "__main__":
    sys.exit(cli.run(main))

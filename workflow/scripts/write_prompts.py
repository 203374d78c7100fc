"""Write the prompts of one variant and class shard."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.classes import ClassInfo
from capsynth.errors import CapsynthError
from capsynth.prompting import PromptSettings, write_prompts
from capsynth.settings import settings_from_json
from capsynth.shards import split_shard_name


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", required=True, help="JSON of prompting.PromptSettings")
    parser.add_argument("--shard", required=True, help="{class_id}-{part}")
    parser.add_argument("--class-info", required=True, help="JSON of classes.ClassInfo")
    parser.add_argument("--class-index", type=int, required=True)
    parser.add_argument("--parts-per-class", type=int, required=True)
    parser.add_argument("--captions", type=Path, help="JSON Lines of captions.CaptionRecord")
    parser.add_argument(
        "--real", nargs="+", type=Path, default=[], help="manifests of the class, to be counted"
    )
    parser.add_argument("--variant", default="?", help="its name, for messages")
    parser.add_argument(
        "--max-fallback", type=float, default=1.0, help="share of the captions that may fall back"
    )
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args(argv)
    class_id, part = split_shard_name(args.shard)
    about = settings_from_json(ClassInfo, args.class_info)
    if about.class_id != class_id:
        raise CapsynthError(
            f"--class-info is of {about.class_id!r} but --shard of {class_id!r}; give one class"
        )
    write_prompts(
        settings_from_json(PromptSettings, args.settings),
        about,
        args.class_index,
        part,
        args.parts_per_class,
        args.captions,
        args.output,
        args.max_fallback,
        args.variant,
        args.real,
    )


if __name__ == "__main__":
    sys.exit(cli.run(main))

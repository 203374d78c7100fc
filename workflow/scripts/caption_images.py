"""Caption the real images of one class shard."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.captioners import CaptionerSettings
from capsynth.captioning import caption_shard
from capsynth.settings import settings_from_json


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", required=True, help="JSON of captioners.CaptionerSettings")
    parser.add_argument("--model-mark", required=True, help="name of the model's weights")
    parser.add_argument("--tar", type=Path, required=True)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args(argv)
    cli.set_threads(args.threads)
    settings = settings_from_json(CaptionerSettings, args.settings)
    caption_shard(settings, args.tar, args.manifest, args.output, args.model_mark)


if __name__ == "__main__":
    sys.exit(cli.run(main))

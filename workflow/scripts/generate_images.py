"""Draw the images of one variant and class shard."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.generation import generate_shard
from capsynth.generators import GeneratorSettings
from capsynth.models import take_models
from capsynth.resuming import code_mark
from capsynth.settings import settings_from_json


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", required=True, help="JSON of generators.GeneratorSettings")
    parser.add_argument("--model-mark", required=True, help="name of local weights, or none")
    parser.add_argument("--model-lock", type=Path, nargs="*", default=[], help="hub models' stamps")
    parser.add_argument("--weights", type=Path, help="folder that says where local weights lie")
    parser.add_argument("--code", type=Path, help="digests of the code: other code resumes nothing")
    parser.add_argument("--prompts", type=Path, required=True)
    parser.add_argument("--extension", choices=["png", "jpg"], required=True)
    parser.add_argument("--max-rejected", type=float, default=1.0, help="share of the images")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--tar", type=Path, required=True)
    parser.add_argument("--manifest", type=Path, required=True)
    args = parser.parse_args(argv)
    settings = settings_from_json(GeneratorSettings, args.settings)
    settings, mark = take_models(settings, args.model_mark, args.model_lock, args.weights)
    cli.set_threads(args.threads)
    generate_shard(
        settings,
        args.prompts,
        args.extension,
        args.tar,
        args.manifest,
        mark,
        code_mark(args.code),
        args.max_rejected,
    )


if __name__ == "__main__":
    sys.exit(cli.run(main))

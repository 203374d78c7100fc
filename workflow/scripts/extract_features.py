"""Extract the features of the images of one shard or evaluation set."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.extractors import ExtractorSettings
from capsynth.features import extract_features
from capsynth.models import take_models
from capsynth.settings import settings_from_json


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", required=True, help="JSON of extractors.ExtractorSettings")
    parser.add_argument("--model-mark", required=True, help="name of local weights, or none")
    parser.add_argument("--model-lock", type=Path, nargs="*", default=[], help="hub models' stamps")
    parser.add_argument("--weights", type=Path, help="folder that says where local weights lie")
    parser.add_argument("--tar", type=Path, required=True)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args(argv)
    settings = settings_from_json(ExtractorSettings, args.settings)
    settings, mark = take_models(settings, args.model_mark, args.model_lock, args.weights)
    cli.set_threads(args.threads)
    extract_features(settings, args.tar, args.manifest, args.output, mark)


if __name__ == "__main__":
    sys.exit(cli.run(main))

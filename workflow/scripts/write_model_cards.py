"""Write the cards of the embedded models: data, training, figures, samples, licence."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.files import read_json
from capsynth.generators import GeneratorSettings
from capsynth.pretraining.cards import write_captioner_card, write_generator_card
from capsynth.settings import settings_from_json


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder of the pretraining")
    parser.add_argument("--figures", type=Path, required=True, help="JSON of evaluate_models.py")
    parser.add_argument("--generator", required=True, help="JSON of generation.GeneratorSettings")
    parser.add_argument("--schedules", required=True, help="JSON of config/pretrain.yaml")
    parser.add_argument("--output", type=Path, required=True, help="folder of the models")
    args = parser.parse_args(argv)
    figures = read_json(args.figures)
    schedules = json.loads(args.schedules)
    generator = settings_from_json(GeneratorSettings, args.generator)
    write_captioner_card(args.work, schedules, figures, args.output / "captioner")
    write_generator_card(args.work, schedules, figures, generator, args.output / "generator")


if __name__ == "__main__":
    sys.exit(cli.run(main))

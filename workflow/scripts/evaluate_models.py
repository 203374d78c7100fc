"""Measure the embedded models on scenes that they have never seen, and print the figures."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.captioners import CaptionerSettings
from capsynth.files import write_json
from capsynth.generators import GeneratorSettings
from capsynth.pretraining import evaluation
from capsynth.pretraining.judge import train_judge
from capsynth.pretraining.loop import Schedule
from capsynth.pretraining.web import read_web
from capsynth.settings import settings_from_json


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--web", type=Path, required=True)
    parser.add_argument("--captioner", required=True, help="JSON of captioners.CaptionerSettings")
    parser.add_argument("--generator", required=True, help="JSON of generation.GeneratorSettings")
    parser.add_argument("--judge", required=True, help="JSON of pretraining.loop.Schedule")
    parser.add_argument("--judge-state", type=Path, required=True)
    parser.add_argument("--evaluation", required=True, help='JSON {"images": ..., "seed": ...}')
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args(argv)
    cli.set_threads(args.threads)
    about = json.loads(args.evaluation)
    n, seed = about["images"], about["seed"]
    schedule = settings_from_json(Schedule, args.judge)
    judge = train_judge(read_web(args.web), schedule, args.judge_state)
    captioner = settings_from_json(CaptionerSettings, args.captioner)
    generator = settings_from_json(GeneratorSettings, args.generator)
    figures = [
        *evaluation.evaluate_judge(judge, n, seed),
        *evaluation.evaluate_captioner(captioner, n, seed),
        *evaluation.evaluate_generator(generator, judge, n, seed),
    ]
    write_json(args.output, evaluation.as_rows(figures))
    print(evaluation.as_table(figures))


if __name__ == "__main__":
    sys.exit(cli.run(main))

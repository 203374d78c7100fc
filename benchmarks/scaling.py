"""ImageNet-1K with five variants on clusters, on paper: python -m benchmarks.scaling.

Prints the tables of docs/scaling.md.
"""

import argparse
import itertools
import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.imagenet import FIVE_VARIANTS, stand_in
from benchmarks.simulate import Cluster, Outcome, Stage, simulate
from capsynth.monitoring.plan import Plan, read_plan

HOUR = 3600.0
GPUS = (1, 8, 64, 512)
CLASSES, VARIANTS, CAPTIONERS = 1000, 5, 2
IMAGES = 1_281_167
TRAINING_SETS, SEEDS, EPOCHS = 7, 3, 300
# Images of each evaluation set, in the order of config/imagenet1k.yaml.
EVAL_IMAGES = (
    50_000,
    10_000,
    10_000,
    10_000,
    30_000,
    50_889,
    30_000,
    10_000,
    7_500,
    10_000,
    375_000,
)

# Published, images a second of one GPU; docs/scaling.md has the sources.
DRAWN_50_STEPS = 16 * 4.68 / 50
DRAWN_20_STEPS = 16 * 4.68 / 20
TRAINED, ANSWERED = 1218.0, 3676.35
# Assumed: nothing is published, or it depends on the cluster. docs/scaling.md says so.
CAPTIONED = 10.0
PACK_S, WRITE_S, REPORT_S = 60.0, 5.0, 60.0
SPREAD = 0.1
START_S, BETWEEN_S = 60.0, 30.0
# The size of ILSVRC2012_img_train.tar, 138 GiB.
IMAGE_BYTES = 147_897_477_120 / IMAGES


def stages(
    drawn: float = DRAWN_50_STEPS, training_gpus: int = 1, shards_a_job: int = 1
) -> tuple[Stage, ...]:
    """Return the stages of a run.

    Args:
        drawn: Images that one GPU draws a second.
        training_gpus: GPUs of a training, which is as many times as fast.
        shards_a_job: Class shards that a SLURM job draws or captions.
    """
    shard = IMAGES / CLASSES
    training = IMAGES * EPOCHS / TRAINED / training_gpus
    runs = TRAINING_SETS * SEEDS
    # real+caption has twice the images.
    both, one = SEEDS, runs - SEEDS
    drawing = Stage(
        "generate_images",
        CLASSES * VARIANTS,
        shard / drawn,
        SPREAD,
        gpus=1,
        after={"write_prompts": "same"},
        per_submission=shards_a_job,
    )
    answers = sum(EVAL_IMAGES) / ANSWERED
    trainings = {"gpus": training_gpus, "after": {"generate_images": "all"}}
    return (
        Stage("pack_real", CLASSES, PACK_S, SPREAD),
        Stage("pack_eval_set", len(EVAL_IMAGES), 10 * PACK_S, SPREAD),
        Stage(
            "caption_images",
            CLASSES * CAPTIONERS,
            shard / CAPTIONED,
            SPREAD,
            gpus=1,
            after={"pack_real": "same"},
            per_submission=shards_a_job,
        ),
        Stage("write_prompts", CLASSES * VARIANTS, WRITE_S, after={"caption_images": "same"}),
        drawing,
        # The longest first.
        Stage("train_classifier, twice the images", both, 2 * training, 0.02, **trainings),
        Stage("train_classifier", one, training, 0.02, **trainings),
        Stage(
            "evaluate_classifier",
            runs,
            answers,
            SPREAD,
            gpus=1,
            after={
                "train_classifier": "all",
                "train_classifier, twice the images": "all",
                "pack_eval_set": "all",
            },
        ),
        Stage("report", 1, 10 * REPORT_S, after={"evaluate_classifier": "all"}),
    )


def hours(seconds: float) -> str:
    """Return seconds as hours or days."""
    return (
        f"{seconds / HOUR:,.0f} h" if seconds < 100 * HOUR else f"{seconds / HOUR / 24:,.1f} days"
    )


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    yield "| " + " | ".join(header) + " |"
    yield "|" + "---|" * len(header)
    for row in rows:
        yield "| " + " | ".join(row) + " |"
    yield ""


def costs() -> Iterator[str]:
    """Yield the table of GPU hours."""
    rows = [
        (stage.name, f"{stage.jobs:,}", f"{stage.seconds / 60:,.1f}", f"{gpu_hours(stage):,.0f}")
        for stage in stages()
        if stage.gpus
    ]
    rows.append(("all of them", "", "", f"{sum(map(gpu_hours, stages())):,.0f}"))
    yield from table(("stage", "jobs", "minutes a job", "GPU hours"), rows)


def gpu_hours(stage: Stage) -> float:
    """Return the GPU hours of a stage."""
    return stage.jobs * stage.seconds * stage.gpus / HOUR


def setups(gpus: int) -> dict[str, tuple[tuple[Stage, ...], Cluster]]:
    """Return what is simulated for a number of GPUs, each one change from the one before."""
    shipped = Cluster(gpus, slots=100, start_s=START_S, between_s=BETWEEN_S, submissions_per_s=2.0)
    many = replace(shipped, slots=gpus + 100)
    return {
        "as shipped: `jobs: 100`, trainings on 1 GPU": (stages(), shipped),
        "`jobs`: GPUs + 100": (stages(), many),
        "and trainings on 8 GPUs": (stages(training_gpus=min(8, gpus)), many),
        "and 20 steps instead of 50": (
            stages(drawn=DRAWN_20_STEPS, training_gpus=min(8, gpus)),
            many,
        ),
    }


def walls() -> Iterator[str]:
    """Yield the table of wall times, and of when images and trainings are done."""
    outcomes = {
        gpus: {name: simulate(*setup) for name, setup in setups(gpus).items()} for gpus in GPUS
    }
    rows = [(name, *(_cell(outcomes[gpus][name], gpus) for gpus in GPUS)) for name in outcomes[1]]
    yield from table(("", *(f"{gpus} GPU{'s' * (gpus > 1)}" for gpus in GPUS)), rows)
    yield "Images of all variants are drawn after:"
    yield ""
    rows = [
        (name, *(hours(outcomes[gpus][name].ends["generate_images"]) for gpus in GPUS))
        for name in outcomes[1]
    ]
    yield from table(("", *(f"{gpus} GPU{'s' * (gpus > 1)}" for gpus in GPUS)), rows)


def _cell(outcome: Outcome, gpus: int) -> str:
    return f"{hours(outcome.wall_s)} ({outcome.busy(gpus):.0%})"


def limits() -> Iterator[str]:
    """Yield the table of what drawing alone loses to starting and submitting jobs."""
    gpus = 512
    rows = []
    for drawn, start_s, a_second, shards in itertools.product(
        (DRAWN_50_STEPS, DRAWN_20_STEPS), (0.0, 60.0, 300.0), (2.0, 0.2), (1, 4)
    ):
        cluster = Cluster(gpus, gpus + 100, start_s, min(start_s, BETWEEN_S), a_second)
        drawing = [replace(s, after={}) for s in stages(drawn, 1, shards) if "generate" in s.name]
        outcome = simulate(drawing, cluster)
        rows.append(
            (
                f"{CLASSES * VARIANTS} in {outcome.submissions}",
                "50" if drawn == DRAWN_50_STEPS else "20",
                f"{start_s:.0f} s",
                f"{a_second:g}",
                hours(outcome.wall_s) if outcome.wall_s > 10 * HOUR else _minutes(outcome.wall_s),
                f"{outcome.busy(gpus):.0%}",
            )
        )
    header = ("shards in jobs", "steps", "start of a job", "submitted a second", "wall", "busy")
    yield from table(header, rows)


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min"


def files(plan: Plan) -> Iterator[str]:
    """Yield the table of jobs, files and bytes, from a plan of Snakemake."""
    jobs = Counter(job.rule for job in plan.jobs)
    outputs = Counter[str]()
    inputs = Counter[str]()
    beside = Counter[str]()
    for job in plan.jobs:
        outputs[job.rule] += len(job.outputs)
        inputs[job.rule] += len(job.inputs)
        beside[job.rule] += (job.log is not None) + (job.benchmark is not None)
    read, written = bytes_read(), bytes_written()
    shown = [rule for rule in plan.rules if jobs[rule] > 20]
    groups = {rule: [rule] for rule in shown}
    groups["all others"] = [rule for rule in plan.rules if rule not in shown]
    groups["all of them"] = list(plan.rules)

    def total(of: Mapping[str, float], rules: Sequence[str]) -> float:
        return sum(of.get(rule, 0) for rule in rules)

    rows = [
        (
            f"`{name}`" if name in shown else name,
            f"{total(jobs, rules):,.0f}",
            f"{total(outputs, rules):,.0f}",
            f"{total(beside, rules):,.0f}",
            f"{total(inputs, rules):,.0f}",
            _terabytes(total(read, rules)),
            _terabytes(total(written, rules)),
        )
        for name, rules in groups.items()
    ]
    header = ("rule", "jobs", "results", "logs, benchmarks", "inputs", "read", "written")
    yield from table(header, rows)


def bytes_read() -> dict[str, float]:
    """Return the bytes of images that stages read, by rule."""
    all_images = IMAGES * IMAGE_BYTES
    # One of seven training sets is twice as large.
    of_seeds = SEEDS * (TRAINING_SETS + 1) * all_images
    return {
        "pack_real": all_images,
        "caption_images": CAPTIONERS * all_images,
        "train_classifier": EPOCHS * of_seeds,
        "evaluate_classifier": TRAINING_SETS * SEEDS * sum(EVAL_IMAGES) * IMAGE_BYTES,
        "score_members": SEEDS * TRAINING_SETS * all_images,
        "judge_images": SEEDS * VARIANTS * all_images,
    }


def bytes_written() -> dict[str, float]:
    """Return the bytes of images that stages write, by rule."""
    return {
        "pack_real": IMAGES * IMAGE_BYTES,
        "pack_eval_set": sum(EVAL_IMAGES) * IMAGE_BYTES,
        "generate_images": VARIANTS * IMAGES * IMAGE_BYTES,
    }


def _terabytes(number: float) -> str:
    return f"{number / 1e12:,.2f} TB" if number else ""


def plan_of_five_variants(folder: Path) -> Plan:
    """Return Snakemake's plan of ImageNet-1K with five variants, made in a new folder."""
    stand_in(folder)
    before = Path.cwd()
    os.chdir(folder)
    try:
        return read_plan([*FIVE_VARIANTS, "--cores", "1"])
    finally:
        os.chdir(before)


def main() -> None:
    """Run the command line."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    with tempfile.TemporaryDirectory() as work:
        plan = plan_of_five_variants(Path(work) / "checkout")
    for lines in (costs(), files(plan), walls(), limits()):
        print("\n".join(lines))


if __name__ == "__main__":
    main()

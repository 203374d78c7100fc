# Predictions: what their rule is told, and which evaluation sets are reported.
import functools
import json

from capsynth.datasets.overlaps import not_independent

# Held-out images of learning curves: trainings answer them, and no other job does.
CURVE_SET = config["learning_curves"]["eval_set"]
# Their images are of no class: there is no accuracy on them.
UNKNOWN_EVAL_SETS = [name for name, entry in config["eval_sets"].items() if entry["unknown"]]
# The calibration set is used to fit temperatures, and so for nothing else.
REPORTED_EVAL_SETS = [
    name
    for name in config["eval_sets"]
    if name not in (config["report"]["calibration_set"], CURVE_SET)
    and name not in UNKNOWN_EVAL_SETS
]
# Answered by all classifiers, each in one job.
EVALUATED = [name for name in config["eval_sets"] if name != CURVE_SET]
# What one set may take, and all that are waiting in one job: what is answered is kept for a retry.
SET_MINUTES, EVALUATION_MINUTES = 15, 90
# Their p values are not corrected, and correct no others.
OUTSIDE_FAMILY = not_independent({name: config["eval_sets"][name] for name in REPORTED_EVAL_SETS})


def run_name(wildcards):
    """The names of a run and an evaluation set, as one JSON value."""
    return dump_json({**json.loads(run_names(wildcards)), "eval_set": wildcards.eval_set})


def run_names(wildcards):
    """The names that a run's predictions carry, as one JSON value."""
    values = {name: getattr(wildcards, name) for name in ("dataset", "training_set", "recipe")}
    return dump_json({**values, "seed": int(wildcards.seed)})


def evaluated_files(extension):
    """The evaluation sets, or their manifests."""
    return [f"results/eval_sets/{name}.{extension}" for name in EVALUATED]


def eval_views(wildcards):
    """What is told of each evaluation set, a file each: a set that changes is told from the others."""
    return [eval_view(name) for name in EVALUATED]


@functools.cache
def eval_view(name):
    """A file of an evaluation set: its images, what they are, and which answers are possible.

    Unknown images are answered with the classes of the set that they are told from.
    """
    is_unknown = name in UNKNOWN_EVAL_SETS
    answered = config["report"]["in_distribution"] if is_unknown else name
    class_ids = eval_class_ids(answered)
    view = {
        "eval_set": name,
        "tar": f"results/eval_sets/{name}.tar",
        "manifest": f"results/eval_sets/{name}.jsonl",
        "class_ids": class_ids if class_ids != CLASS_IDS else None,
        "answer_groups": eval_answer_groups(answered) or None,
        "corrupted": bool(config["eval_sets"][name]["severities"]),
        "unknown": is_unknown,
    }
    return write_input(ARGUMENTS, f"{VIEWS}/{name}", ".json", dump_json(view) + "\n")


def evaluation_minutes(wildcards):
    """Minutes of an evaluation, by the sets that are waiting: those without predictions, if any."""
    folder = Path("results/{dataset}/predictions/{training_set}/{recipe}".format(**wildcards))
    made = folder / f"seed{wildcards.seed}"
    waiting = [name for name in EVALUATED if not (made / f"{name}.parquet").exists()]
    return min(SET_MINUTES * len(waiting or EVALUATED), EVALUATION_MINUTES)

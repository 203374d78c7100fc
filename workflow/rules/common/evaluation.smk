# Predictions: what their rule is told, and which evaluation sets are reported.
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
# Their p values are not corrected, and correct no others.
OUTSIDE_FAMILY = not_independent({name: config["eval_sets"][name] for name in REPORTED_EVAL_SETS})


def run_name(wildcards):
    """The names that predictions carry, as one JSON value."""
    names = ("dataset", "training_set", "recipe", "eval_set")
    values = {name: getattr(wildcards, name) for name in names}
    return dump_json({**values, "seed": int(wildcards.seed)})


def eval_view_flags(wildcards):
    """The answers that are possible and right, where they are not all; what the images are.

    Unknown images are answered with the classes of the set that they are told from.
    """
    name = wildcards.eval_set
    is_unknown = name in UNKNOWN_EVAL_SETS
    answered = config["report"]["in_distribution"] if is_unknown else name
    class_ids = eval_class_ids(answered)
    words = [flags(class_ids=class_ids)] if class_ids != CLASS_IDS else []
    if groups := eval_answer_groups(answered):
        words.append(flags(answer_groups=dump_json(groups)))
    words += ["--corrupted"] if config["eval_sets"][name]["severities"] else []
    words += ["--unknown"] if is_unknown else []
    return " ".join(words)

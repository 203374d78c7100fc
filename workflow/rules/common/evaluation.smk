# Predictions: what their rule is told, and which evaluation sets are reported.

# Their images are of no class: there is no accuracy on them.
UNKNOWN_EVAL_SETS = [name for name, entry in config["eval_sets"].items() if entry["unknown"]]
# The calibration set is used to fit temperatures, and so for nothing else.
REPORTED_EVAL_SETS = [
    name
    for name in config["eval_sets"]
    if name != config["report"]["calibration_set"] and name not in UNKNOWN_EVAL_SETS
]


def run_name(wildcards):
    """The names that predictions carry, as one JSON value."""
    names = ("dataset", "training_set", "recipe", "eval_set")
    values = {name: getattr(wildcards, name) for name in names}
    return dump_json({**values, "seed": int(wildcards.seed)})


def eval_mask_flags(wildcards):
    """The classes that may be answered, where they are not all.

    Unknown images are answered with the classes of the set that they are told from.
    """
    is_unknown = wildcards.eval_set in UNKNOWN_EVAL_SETS
    eval_set = config["report"]["in_distribution"] if is_unknown else wildcards.eval_set
    class_ids = eval_class_ids(eval_set)
    mask = flags(class_ids=class_ids) if class_ids != CLASS_IDS else ""
    return f"{mask} --unknown" if is_unknown else mask

# Classes, groups and unknown images: which evaluation sets have them, and what their rules are told.
from dataclasses import asdict

from capsynth.groups import GroupSettings, read_groups

LEAST_GROUP_IMAGES = config["report"]["min_group_images"]
GROUPED_EVAL_SETS = [name for name in REPORTED_EVAL_SETS if config["eval_sets"][name]["groups"]]
SUBGROUP_REPORT = [
    "results/report/tables/worst-class.html",
    "results/report/tables/precision.html",
    *(["results/report/tables/groups.html"] if GROUPED_EVAL_SETS else []),
    *(["results/report/tables/group-accuracy.html"] if GROUPED_EVAL_SETS else []),
    *(["results/report/tables/unknown.html"] if UNKNOWN_EVAL_SETS else []),
]


def predictions_on(eval_sets):
    """The predictions of all runs on some evaluation sets."""
    return [
        f"results/{DATASET}/predictions/{run}/{name}.parquet" for run in RUNS for name in eval_sets
    ]


def unknown_arguments(wildcards):
    """The predictions that tell images of the classes from unknown ones, and the comparisons."""
    words = ["--inside", *predictions_on([IN_DISTRIBUTION])]
    words += ["--unknown", *predictions_on(UNKNOWN_EVAL_SETS)]
    for pair in COMPARISONS:
        words += ["--comparison", *pair]
    return argument_file("unknown", words)


def group_settings(eval_set):
    """How the images of an evaluation set are grouped."""
    entry = config["eval_sets"][eval_set]
    if entry["source"] != "openmoji":
        return GroupSettings(entry["groups"])
    return GroupSettings(entry["groups"], entry["split"], entry["seed"], entry["context_bias"])


def group_arguments(wildcards):
    """The predictions on grouped evaluation sets, and how these are grouped."""
    words = ["--predictions", *predictions_on(GROUPED_EVAL_SETS)]
    for name in GROUPED_EVAL_SETS:
        manifest = f"results/eval_sets/{name}.jsonl"
        words += ["--eval-set", name, manifest, dump_json(asdict(group_settings(name)))]
    return argument_file("groups", words)


def group_files(wildcards):
    """A name of what the user's files of groups say: another content is another measurement."""
    files = [
        config["eval_sets"][name]["groups"]
        for name in GROUPED_EVAL_SETS
        if config["eval_sets"][name]["source"] != "openmoji"
    ]
    return fingerprint({f: {k: vars(a) for k, a in read_groups(Path(f)).items()} for f in files})

# The report: what it consists of, and what its rules read and are told.
from dataclasses import asdict

from capsynth.reporting.ablations import find_ablations

RUNS = [
    f"{training_set}/{recipe}/seed{seed}"
    for training_set in config["training_sets"]
    for recipe in config["recipes"]
    for seed in config["training_seeds"]
]
TABLES = {"main": "main_table", "comparisons": "comparisons", "per-class": "per_class"}
FORMATS = ["csv", "md", "tex"]
COMPARISONS = config["report"]["comparisons"]
BASELINE = config["report"]["ablation_baseline"]
ABLATIONS = [] if BASELINE is None else find_ablations(config, BASELINE)
FIRST_RECIPE = list(config["recipes"])[:1]
PREDICTIONS = [
    f"results/{DATASET}/predictions/{run}/{eval_set}.parquet"
    for run in RUNS
    for eval_set in REPORTED_EVAL_SETS
]
HISTORIES = [f"results/{DATASET}/checkpoints/{run}.json" for run in RUNS]
# Training sets of real and synthetic images: how many of each, their manifests tell.
MIXED = [
    name for name, mix in config["training_sets"].items() if mix["real"] > 0 and mix["variants"]
]
MIXED_MANIFESTS = [
    f"results/{DATASET}/images/{variant}/{shard}.jsonl"
    for variant in dict.fromkeys(
        v for name in MIXED for v in config["training_sets"][name]["variants"]
    )
    for shard in SHARDS
]
# Captions, and the first part of a class: what a gallery can show.
GALLERY = config["report"]["gallery"]
GALLERY_CLASSES = dict.fromkeys([*GALLERY["ambiguous"], *CLASS_IDS[: GALLERY["max_classes"]]])
GALLERY_SHARDS = [shard_name(class_id, 0) for class_id in CLASS_IDS if class_id in GALLERY_CLASSES]
GALLERY_CAPTIONERS = [
    config["variants"][variant]["captioner"]
    for variant in GALLERY["variants"]
    if needs_captions(variant)
][:1]
# What classes of the gallery are sorted by, and what the examples are of: the first comparison.
GALLERY_SCORES = ["results/scores.csv"] if COMPARISONS else []
HAS_EXAMPLES = bool(COMPARISONS) and config["report"]["examples"] > 0
EXAMPLE_PREDICTIONS = predictions_of(COMPARISONS[0] if HAS_EXAMPLES else [], FIRST_RECIPE)
REPORT_FILES = [
    *(f"results/report/tables/{table}.html" for table in TABLES),
    *(["results/report/tables/ablations.html"] if ABLATIONS else []),
    *SUBGROUP_REPORT,
    *ROBUSTNESS_REPORT,
    *CALIBRATION_REPORT,
    *CONVERGENCE_REPORT,
    *PROBE_REPORT,
    *(f"results/report/class-gains-{i}.png" for i in range(len(COMPARISONS))),
    *(["results/report/gallery.html"] if GALLERY_CAPTIONERS else []),
    *(["results/report/senses.png"] if GALLERY_CAPTIONERS and GALLERY["ambiguous"] else []),
    *PRIVACY_REPORT,
    *CONFUSION_REPORT,
    *(["results/report/examples.html"] if HAS_EXAMPLES else []),
    *FIDELITY_REPORT,
    *LABEL_REPORT,
    *COST_REPORT,
    "results/report/stage-times.png",
]


def report_settings(wildcards):
    """What tables and figures show, and in which order, as one JSON value."""
    return dump_json(
        {
            "in_distribution": config["report"]["in_distribution"],
            "training_sets": list(config["training_sets"]),
            "eval_sets": REPORTED_EVAL_SETS,
            "comparisons": COMPARISONS,
        }
    )


def noted_folders():
    """The folders of shards that training sets hold or descend from."""
    folders = {f for name in config["training_sets"] for f in training_folders(name)}
    trained_on = {v for mix in config["training_sets"].values() for v in mix["variants"]}
    real = {f"results/{DATASET}/real"} if any(map(needs_captions, trained_on)) else set()
    return sorted(folders | real)


def noted_eval_sets():
    """The manifests of evaluation sets whose images could be those of the data set, by name.

    Of corrupted images, of which there may be millions, none is byte for byte.
    """
    return {
        name: f"results/eval_sets/{name}.jsonl"
        for name in REPORTED_EVAL_SETS
        if not config["eval_sets"][name]["corruptions"]
    }


def noted_prompts():
    """The prompts behind the scores that are made from captions, by variant."""
    return {v: prompt_files(v) for v in USED_VARIANTS if needs_captions(v)}


def noted_manifests(wildcards):
    """The manifests and prompts of all images behind the scores, which tables have notes on."""
    shards = [f"{folder}/{shard}.jsonl" for folder in noted_folders() for shard in SHARDS]
    prompts = [file for files in noted_prompts().values() for file in files]
    return [*shards, *noted_eval_sets().values(), *prompts]


def noted_arguments(wildcards):
    """The same as arguments."""
    words = ["--class-ids", *CLASS_IDS, "--parts-per-class", PARTS]
    real = f"results/{DATASET}/real"
    words += ["--real", real] if real in noted_folders() else []
    for name in config["training_sets"]:
        for folder, share in training_folders(name).items():
            words += ["--training-set", name, folder, share]
    for name, manifest in noted_eval_sets().items():
        words += ["--eval-set", name, manifest]
    for variant, files in noted_prompts().items():
        words += ["--prompts", variant, *files]
    return argument_file("tables", words)


def budget_arguments(wildcards):
    """The trainings, and what their training sets consist of, as arguments."""
    words = ["--dataset", DATASET, "--class-ids", *CLASS_IDS, "--parts-per-class", PARTS]
    sets = config["training_sets"]
    words += ["--real", *(name for name, mix in sets.items() if mix["real"] > 0)]
    for name, mix in sets.items():
        for variant, share in mix["variants"].items():
            taken = share_of(share, mix["sample_seed"])
            words += ["--synthetic", name, f"results/{DATASET}/images/{variant}", taken]
    for run, history in zip(RUNS, HISTORIES):
        name, recipe, _ = run.split("/")
        words += ["--training", name, recipe, config["recipes"][recipe]["batch_size"], history]
    return argument_file("budgets", words)


def ablation_settings(wildcards):
    """What the table of ablations shows, as one JSON value."""
    ablations = [asdict(ablation) for ablation in ABLATIONS]
    told = {"baseline": BASELINE, "ablations": ablations, "eval_sets": REPORTED_EVAL_SETS}
    return dump_json(told)


def gallery_arguments(wildcards):
    """The shards that a gallery shows."""
    words = []
    if COMPARISONS:
        gain = [*COMPARISONS[0], config["report"]["in_distribution"], *FIRST_RECIPE]
        words = ["--scores", *GALLERY_SCORES, "--gain", *gain]
    for shard in GALLERY_SHARDS:
        real = f"results/{DATASET}/real/{shard}"
        words += ["--real", f"{real}.tar", f"{real}.jsonl"]
        words += ["--captions", f"results/{DATASET}/captions/{GALLERY_CAPTIONERS[0]}/{shard}.jsonl"]
        for variant in GALLERY["variants"]:
            drawn = f"results/{DATASET}/images/{variant}/{shard}"
            words += ["--variant", variant, f"{drawn}.tar", f"{drawn}.jsonl"]
    return argument_file("gallery", words)


def examples_arguments(wildcards):
    """The predictions and evaluation sets that examples are taken from."""
    words = ["--comparison", *COMPARISONS[0], "--predictions", *EXAMPLE_PREDICTIONS]
    for name in REPORTED_EVAL_SETS:
        words += ["--eval-set", name, f"results/eval_sets/{name}.tar"]
        words += [f"results/eval_sets/{name}.jsonl"]
    return argument_file("examples", words)


def gallery_flags(wildcards):
    """What a gallery shows of them."""
    return flags(columns=GALLERY["variants"], images_per_class=GALLERY["images_per_class"])

# Training sets: what their rule reads and is told.
from capsynth.shares import share_of


def training_folders(training_set):
    """The folders of shards that a training set reads, and the share it takes of each."""
    parts = config["training_sets"][training_set]
    folders = {f"results/{DATASET}/real": parts["real"]} if parts["real"] > 0 else {}
    variants = parts["variants"].items()
    folders |= {f"results/{DATASET}/images/{name}": share for name, share in variants}
    return {folder: share_of(share, parts["sample_seed"]) for folder, share in folders.items()}


def training_manifests(wildcards):
    """The manifests of the shards of a training set."""
    folders = training_folders(wildcards.training_set)
    return [f"{folder}/{shard}.jsonl" for folder in folders for shard in SHARDS]


def training_tars(wildcards):
    """The shards of a training set."""
    folders = training_folders(wildcards.training_set)
    return [f"{folder}/{shard}.tar" for folder in folders for shard in SHARDS]


def training_flags(wildcards):
    """The folders that a training set reads, and the fraction it takes of each."""
    folders = training_folders(wildcards.training_set)
    return flags(
        class_ids=CLASS_IDS,
        folders=list(folders),
        fractions=list(folders.values()),
        parts_per_class=PARTS,
    )


def training_recipe(wildcards):
    """The settings of a recipe as one JSON value; those of its preset are in it."""
    recipe = config["recipes"][wildcards.recipe]
    return dump_json({name: value for name, value in recipe.items() if name != "base"})


def training_held_out(suffix):
    """The tar or the manifest of the held-out images of learning curves; none without them."""
    return [] if CURVE_SET is None else [f"results/eval_sets/{CURVE_SET}.{suffix}"]


def training_measured(wildcards, input):
    """On which images accuracy is measured in a training."""
    curves = config["learning_curves"]
    measured = {"train_images": curves["train_images"]}
    if input.held_out_tar:
        measured["held_out"] = [*input.held_out_tar, *input.held_out]
        measured["points"] = curves["points"]
    return flags(**measured)


def training_launcher(wildcards):
    """What starts the script: one process warm, several through torchrun."""
    gpus = config["recipes"][wildcards.recipe]["gpus"]
    if gpus == 1:
        return f"{RUN}/train_classifier.py"
    torchrun = "exec python -m torch.distributed.run --standalone"
    return f"{torchrun} --nproc-per-node {gpus} {shlex.quote(SCRIPTS)}/train_classifier.py"


def training_threads(wildcards):
    """One thread for each process that computes or reads."""
    recipe = config["recipes"][wildcards.recipe]
    return recipe["gpus"] * max(1, recipe["workers"])

# Training sets: what their rule reads and is told.


def training_folders(training_set):
    """The folders of shards that a training set reads, and the fraction it takes of each."""
    parts = config["training_sets"][training_set]
    folders = {f"results/{DATASET}/real": parts["real"]} if parts["real"] > 0 else {}
    return folders | {f"results/{DATASET}/images/{v}": 1.0 for v in parts["variants"]}


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
        shards=SHARDS,
    )

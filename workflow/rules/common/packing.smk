# Real images and evaluation sets: what their rules read and are told.


def class_folder(wildcards):
    """The folder that holds the real images of a shard's class."""
    class_id, _ = split_shard_name(wildcards.shard)
    if config["dataset"]["source"] == "openmoji":
        return f"results/{DATASET}/source/{class_id}"
    return f"{config['dataset']['path']}/{class_id}"


def class_folder_stamp(wildcards):
    """What was drawn into the class folder; a folder of the user's has no stamp."""
    class_id, _ = split_shard_name(wildcards.shard)
    drawn = config["dataset"]["source"] == "openmoji"
    return [f"results/{DATASET}/source/{class_id}.json"] if drawn else []


def class_token(wildcards):
    """The name of the contents of a shard's class folder."""
    class_id, _ = split_shard_name(wildcards.shard)
    index = Path(f"results/{DATASET}/real/.{wildcards.shard}.sources.json")
    return source_token({class_id: Path(class_folder(wildcards))}, index)


def eval_folder(wildcards):
    """The folder that holds the class folders of an evaluation set."""
    eval_set = config["eval_sets"][wildcards.eval_set]
    if eval_set["source"] == "openmoji":
        return f"results/eval_sets/source/{wildcards.eval_set}"
    return eval_set["path"]


def eval_folder_stamp(wildcards):
    """What was drawn into an evaluation set's folder; a folder of the user's has no stamp."""
    drawn = config["eval_sets"][wildcards.eval_set]["source"] == "openmoji"
    return [f"results/eval_sets/source/{wildcards.eval_set}.json"] if drawn else []


def eval_token(wildcards):
    """The name of the contents of an evaluation set's folder."""
    root = Path(eval_folder(wildcards))
    index = Path(f"results/eval_sets/.{wildcards.eval_set}.sources.json")
    return source_token({class_id: root / class_id for class_id in CLASS_IDS}, index)


def place_flags(wildcards):
    """Where a shard stands among all shards."""
    class_id, _ = split_shard_name(wildcards.shard)
    return flags(class_index=CLASS_IDS.index(class_id), parts_per_class=PARTS)


def train_scene_flags(wildcards):
    """What is drawn into a class folder of the embedded data set."""
    names = ("images_per_class", "seed", "context_bias")
    return flags(split="train", **{name: config["dataset"][name] for name in names})


def eval_scene_flags(wildcards):
    """What is drawn into the folder of an evaluation set."""
    names = ("split", "images_per_class", "seed", "context_bias")
    values = {name: config["eval_sets"][wildcards.eval_set][name] for name in names}
    return flags(class_ids=CLASS_IDS, **values)


def eval_corruption_flags(wildcards):
    """How the images of an evaluation set are corrupted."""
    eval_set = config["eval_sets"][wildcards.eval_set]
    return flags(corruptions=eval_set["corruptions"], severities=eval_set["severities"])


def eval_class_ids(eval_set):
    """The classes of an evaluation set."""
    return CLASS_IDS

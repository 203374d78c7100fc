# Privacy: which models are attacked with which images, and which variants are looked at.
import itertools
import os

PRIVACY = config["privacy"]
HELD_OUT = config["report"]["in_distribution"]
ATTACKED = (
    list(config["training_sets"]) if PRIVACY["training_sets"] is None else PRIVACY["training_sets"]
)
REFERENCED = (
    ATTACKED if PRIVACY["reference_training_sets"] is None else PRIVACY["reference_training_sets"]
)
HALVES = range(PRIVACY["reference_models"])
TWINS = PRIVACY["twins"]
LEAKING = PRIVACY["leakage"]
if LEAKING is None:
    trained_on = {v for mix in config["training_sets"].values() for v in mix["variants"]}
    LEAKING = [v for v in config["variants"] if v in trained_on and needs_captions(v)]
# Features are compared in the first space; without one, pixels alone.
LEAKAGE_SPACE = next(iter(config["feature_extractors"]), None)
ATTACKS_ON = [
    f"results/{DATASET}/privacy/{training_set}/{recipe}"
    for training_set in ATTACKED
    for recipe in config["recipes"]
]


def images_of(training_set):
    """The folders, below that of the dataset, of the images that a training set holds."""
    return [os.path.relpath(f, f"results/{DATASET}") for f in training_folders(training_set)]


def twins_of(training_set):
    """The twins of what a training set holds."""
    variants = config["training_sets"][training_set]["variants"]
    return {f"images/{v}": f"images/{TWINS[v]}" for v in variants if v in TWINS}


def member_definitions():
    """Who the members are in any attack of this configuration."""
    found = {"real"} if ATTACKED else set()
    for training_set in ATTACKED:
        mix = config["training_sets"][training_set]
        found |= {"synthetic"} if twins_of(training_set) else set()
        if HALVES and training_set in REFERENCED:
            found |= {"synthetic-half"} if mix["variants"] else set()
            if mix["real"] > 0 or any(needs_captions(v) for v in mix["variants"]):
                found |= {"real-half"}
    return [d for d in ("real", "synthetic", "real-half", "synthetic-half") if d in found]


MEMBER_DEFINITIONS = member_definitions()
PRIVACY_REPORT = [
    *(["results/report/tables/privacy.html"] if ATTACKED else []),
    *(f"results/report/roc-{definition}.png" for definition in MEMBER_DEFINITIONS),
    *(["results/report/tables/leakage.html"] if LEAKING else []),
]


def scored_shards(images):
    """The shards of a set of images that models are attacked with.

    Those of the classes of the held-out evaluation set, which the probabilities are of.
    """
    if images.startswith("eval_sets/"):
        return [f"results/{images}"]
    shards = [shard_name(c, part) for c in eval_class_ids(HELD_OUT) for part in range(PARTS)]
    return [f"results/{DATASET}/{images}/{shard}" for shard in shards]


def scored_manifests(wildcards):
    """The manifests of the images that a model is asked about."""
    return [f"{shard}.jsonl" for shard in scored_shards(wildcards.images)]


def scored_tars(wildcards):
    """The shards of the images that a model is asked about."""
    return [f"{shard}.tar" for shard in scored_shards(wildcards.images)]


def scored_arguments(wildcards):
    """The same as arguments."""
    words = ["--tar", *scored_tars(wildcards), "--manifest", *scored_manifests(wildcards)]
    return argument_file(f"scored/{wildcards.images}", words)


def scored_name(wildcards):
    """The names that the answers carry, as one JSON value."""
    names = ("dataset", "training_set", "recipe")
    values = {name: getattr(wildcards, name) for name in names}
    number = wildcards.get("half", wildcards.get("seed"))
    return dump_json({**values, "seed": int(number), "eval_set": wildcards.images})


def held_out_flags(wildcards):
    """The classes that may be answered, where they are not all."""
    class_ids = eval_class_ids(HELD_OUT)
    return flags(class_ids=class_ids) if class_ids != CLASS_IDS else ""


def answers_for(wildcards):
    """What the models of a training set answered: file by (images, model)."""
    training_set = wildcards.training_set
    run = f"{training_set}/{wildcards.recipe}"
    root = f"results/{DATASET}"
    twins = twins_of(training_set)
    attacked = ["real", *twins, *twins.values()]
    files = {}
    for seed in config["training_seeds"]:
        of_seed = f"{run}/seed{seed}"
        files[f"eval_sets/{HELD_OUT}", f"seed{seed}"] = (
            f"{root}/predictions/{of_seed}/{HELD_OUT}.parquet"
        )
        for images in attacked:
            files[images, f"seed{seed}"] = f"{root}/members/{of_seed}/{images}.parquet"
    if training_set in REFERENCED:
        for images, half in itertools.product(
            dict.fromkeys([f"eval_sets/{HELD_OUT}", *attacked, *images_of(training_set)]), HALVES
        ):
            files[images, f"half{half}"] = f"{root}/references/{run}/half{half}/{images}.parquet"
    return files


def answer_files(wildcards):
    """The files of what the models of a training set answered."""
    return list(answers_for(wildcards).values())


def privacy_manifests(wildcards):
    """The manifests of what a training set holds, and of its twins."""
    twins = twins_of(wildcards.training_set).values()
    folders = [f"results/{DATASET}/{images}" for images in twins]
    drawn = [f"{folder}/{shard}.jsonl" for folder in folders for shard in SHARDS]
    return [*training_manifests(wildcards), *drawn]


def attack_arguments(wildcards):
    """The answers and the twins of a training set as arguments."""
    words = []
    for (images, model), file in answers_for(wildcards).items():
        words += ["--answers", images, model, file]
    for images, twin in twins_of(wildcards.training_set).items():
        words += ["--twin", images, f"results/{DATASET}/{twin}"]
    return argument_file(f"attacks/{wildcards.training_set}/{wildcards.recipe}", words)


def attack_flags(wildcards):
    """What a training set holds, and how it is measured."""
    measured = flags(
        root=f"results/{DATASET}", held_out=f"eval_sets/{HELD_OUT}", draws=config["report"]["draws"]
    )
    return f"{training_flags(wildcards)} {measured}"


def leakage_places():
    """The sets of images that leakage is measured of, below the folder of results."""
    folders = [f"{DATASET}/real", *(f"{DATASET}/images/{variant}" for variant in LEAKING)]
    return [f"{folder}/{shard}" for folder in folders for shard in SHARDS] + [
        f"eval_sets/{HELD_OUT}"
    ]


def leakage_features(wildcards):
    """The features that leakage is measured by."""
    if LEAKAGE_SPACE is None:
        return []
    return [f"results/features/{LEAKAGE_SPACE}/{place}.parquet" for place in leakage_places()]


def leakage_flags(wildcards):
    """What leakage is measured of."""
    space = {} if LEAKAGE_SPACE is None else {"space": LEAKAGE_SPACE}
    return flags(
        results="results",
        dataset=DATASET,
        class_ids=CLASS_IDS,
        parts_per_class=PARTS,
        variants=LEAKING,
        held_out=HELD_OUT,
        draws=config["report"]["draws"],
        **space,
    )

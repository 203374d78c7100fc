# Convergence: which histories and predictions its rules read.

CONVERGENCE_REPORT = [
    *(
        ["results/report/tables/convergence.html"]
        if CURVE_SET is not None or config["learning_curves"]["train_images"]
        else []
    ),
    *(["results/report/learning-curves.png"] if CURVE_SET is not None else []),
]


def convergence_histories(wildcards):
    """The histories of all runs."""
    return [f"results/{DATASET}/checkpoints/{run}.json" for run in RUNS]


def convergence_predictions(wildcards):
    """The predictions in distribution; none where train-test gaps are not asked for, or make none.

    Own images are of all classes: the gap to a set of a part of them would be one of tasks.
    """
    name = config["report"]["in_distribution"]
    if not config["learning_curves"]["train_images"] or eval_class_ids(name) != CLASS_IDS:
        return []
    return [f"results/{DATASET}/predictions/{run}/{name}.parquet" for run in RUNS]


def convergence_arguments(wildcards):
    """All runs as arguments."""
    words = ["--dataset", DATASET]
    for run in RUNS:
        training_set, recipe, seed = run.split("/")
        history = f"results/{DATASET}/checkpoints/{run}.json"
        words += ["--run", training_set, recipe, seed.removeprefix("seed"), history]
    if CURVE_SET is not None:
        words += ["--curve-set", CURVE_SET]
    if predictions := convergence_predictions(wildcards):
        words += ["--predictions", *predictions]
    return argument_file("convergence", words)

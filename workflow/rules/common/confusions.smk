# Confusions: the predictions that are compared, and what the report shows of them.
COMPARED = sorted({name for pair in config["report"]["comparisons"] for name in pair})


def comparison_name(wildcards):
    """The name of a comparison that is known by its place."""
    return "{} - {}".format(*config["report"]["comparisons"][int(wildcards.comparison)])


def predictions_of(training_sets, recipes=None):
    """The predictions of all runs of some training sets, by default with all recipes."""
    return expand(
        "results/{dataset}/predictions/{training_set}/{recipe}/seed{seed}/{eval_set}.parquet",
        dataset=DATASET,
        training_set=training_sets,
        recipe=recipes or list(config["recipes"]),
        seed=config["training_seeds"],
        eval_set=REPORTED_EVAL_SETS,
    )


COMPARED_PREDICTIONS = predictions_of(COMPARED)
CONFUSION_REPORT = [
    *(["results/report/tables/confusions.html"] if COMPARED else []),
    *(f"results/report/confusions-{i}.png" for i, _ in enumerate(config["report"]["comparisons"])),
]

# Probes of classifiers' features: which evaluation sets they read.

PROBE_SETS = config["probes"]["eval_sets"]
PROBE_REPORT = ["results/report/tables/probes.html"] if PROBE_SETS else []


def probe_predictions(wildcards):
    """What the probes of all runs answered."""
    return [
        f"results/{DATASET}/probes/{run}/{eval_set}.{probe}.parquet"
        for run in RUNS
        for eval_set in PROBE_SETS
        for probe in ("linear", "knn")
    ]


def probe_arguments(wildcards):
    """The same as arguments."""
    return argument_file("probes", ["--predictions", *probe_predictions(wildcards)])

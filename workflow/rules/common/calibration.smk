# Calibration: what its rules read.

CALIBRATION_SET = config["report"]["calibration_set"]
CALIBRATION_REPORT = [
    "results/report/tables/calibration.html",
    *(f"results/report/reliability-{eval_set}.png" for eval_set in REPORTED_EVAL_SETS),
]


def calibration_predictions(wildcards):
    """The predictions that temperatures are fitted to; none without a calibration set."""
    if CALIBRATION_SET is None:
        return []
    return [f"results/{DATASET}/predictions/{run}/{CALIBRATION_SET}.parquet" for run in RUNS]


def calibration_arguments(wildcards):
    """The predictions that calibration is measured on, and those of the calibration set."""
    fitted = calibration_predictions(wildcards)
    words = ["--predictions", *PREDICTIONS, *(["--calibration", *fitted] if fitted else [])]
    return argument_file("calibration", words)

# Robustness and curves: what their rules are told, and what of them a configuration has.
from capsynth.corruption_baselines import mce_obstacle
from capsynth.shares import mean_overlap

SHIFTED_EVAL_SETS = [
    name for name in REPORTED_EVAL_SETS if name != config["report"]["in_distribution"]
]
CORRUPTED_EVAL_SETS = [
    name for name in REPORTED_EVAL_SETS if config["eval_sets"][name]["severities"]
]
ROBUSTNESS_TABLES = [
    *(["robustness"] if SHIFTED_EVAL_SETS else []),
    *(["corruptions"] if CORRUPTED_EVAL_SETS else []),
]
GENERATION_REPLICATES = config["report"]["generation_replicates"]
SAMPLE_REPLICATES = config["report"]["sample_replicates"]
REPLICATES = [*GENERATION_REPLICATES, *SAMPLE_REPLICATES]
# Training sets without those that differ from an earlier one in the draw of their share only:
# no points of their own in curves, and no further control of a line.
FIRST_DRAWS = {
    dump_json({key: value for key, value in mix.items() if key != "sample_seed"}): name
    for name, mix in reversed(config["training_sets"].items())
}
FIRST_DRAWS = {
    name: mix for name, mix in config["training_sets"].items() if name in FIRST_DRAWS.values()
}
# A curve needs so many points.
CURVE_POINTS = 3


def real_curve():
    """Training sets by their share of real images: [line, training set, share], in lines."""
    lines = {}
    for name, mix in FIRST_DRAWS.items():
        synthetic = [v if s == 1 else f"{s:g} {v}" for v, s in sorted(mix["variants"].items())]
        lines.setdefault(" + ".join(["real", *synthetic]), {})[mix["real"]] = name
    return _curve(lines)


def synthetic_curve():
    """Training sets of one variant by its number of images, all else equal, in lines."""
    lines = {}
    numbers = ("images_per_class", "images_per_caption")
    for name, mix in FIRST_DRAWS.items():
        if mix["real"] == 0 and len(mix["variants"]) == 1:
            ((variant, share),) = mix["variants"].items()
            settings = config["variants"][variant]
            alike = dump_json({k: v for k, v in settings.items() if k not in numbers})
            number = tuple(settings[key] or 0 for key in numbers)
            lines.setdefault(alike, {})[(*number, share)] = name
    # A line has the plainest of its names.
    return _curve({min(points.values(), key=len): points for points in lines.values()})


def _curve(lines):
    """The points of a curve; none if no line has enough."""
    if all(len(points) < CURVE_POINTS for points in lines.values()):
        return []
    return [
        [line, name, place if isinstance(place, (int, float)) else 0.0]
        for line, points in lines.items()
        for place, name in points.items()
        if len(points) > 1
    ]


REAL_CURVE = real_curve()
SYNTHETIC_CURVE = synthetic_curve()
# One run of each point, whose history knows the number of images.
SYNTHETIC_HISTORIES = expand(
    "results/{dataset}/checkpoints/{training_set}/{recipe}/seed{seed}.json",
    dataset=DATASET,
    training_set=[training_set for _, training_set, _ in SYNTHETIC_CURVE],
    recipe=list(config["recipes"])[:1],
    seed=config["training_seeds"][:1],
)
ROBUSTNESS_REPORT = [
    *(f"results/report/tables/{table}.html" for table in ROBUSTNESS_TABLES),
    *(["results/report/robustness.png"] if SHIFTED_EVAL_SETS else []),
    *(f"results/report/corruptions-{eval_set}.png" for eval_set in CORRUPTED_EVAL_SETS),
    *(["results/report/real-fraction.png"] if REAL_CURVE else []),
    *(["results/report/scaling.png"] if SYNTHETIC_CURVE else []),
    *(["results/report/tables/variance.html"] if REPLICATES else []),
]


def robustness_settings(wildcards):
    """What robustness is measured of, as one JSON value."""
    return dump_json(
        {
            "in_distribution": config["report"]["in_distribution"],
            "clean": config["report"]["robustness"]["clean"],
            "published": config["report"]["robustness"]["published"],
            "controls": [name for name, mix in FIRST_DRAWS.items() if not mix["variants"]],
            "mce_obstacles": {
                name: mce_obstacle(config["dataset"], config["eval_sets"][name])
                for name in CORRUPTED_EVAL_SETS
            },
        }
    )


def replicate_predictions(wildcards):
    """The predictions of all training sets that are replicates of one another."""
    return [
        f"results/{DATASET}/predictions/{training_set}/{recipe}/seed{seed}/{eval_set}.parquet"
        for training_set in dict.fromkeys(itertools.chain(*REPLICATES))
        for recipe in config["recipes"]
        for seed in config["training_seeds"]
        for eval_set in REPORTED_EVAL_SETS
    ]


def replicate_arguments(wildcards):
    """These predictions, as arguments."""
    words = ["--predictions", *replicate_predictions(wildcards)]
    for group in SAMPLE_REPLICATES:
        mixes = [config["training_sets"][name] for name in group]
        overlap = mean_overlap(mixes[0]["real"], [mix["sample_seed"] for mix in mixes])
        words += ["--sample-group", overlap, *group]
    return argument_file("replicates", words)

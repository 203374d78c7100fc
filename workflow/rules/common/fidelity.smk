# Fidelity, prompts and guidance: what their rules read and are told.
FIDELITY = config["report"]["fidelity"]
EXTRACTORS = (
    list(config["feature_extractors"]) if FIDELITY["extractors"] is None else FIDELITY["extractors"]
)
USED_VARIANTS = [
    name
    for name in config["variants"]
    if any(name in mix["variants"] for mix in config["training_sets"].values())
]
IN_DISTRIBUTION = config["report"]["in_distribution"]
# Real images that no variant was made from, which all others are compared with.
FIDELITY_REFERENCE = FIDELITY["reference"] or IN_DISTRIBUTION
# The training set whose classifiers say what they see in synthetic images: all real ones, no other.
JUDGES = [
    name
    for name, mix in config["training_sets"].items()
    if mix["real"] == 1 and not mix["variants"]
][:1]
JUDGE_RUNS = [
    f"{judge}/{recipe}/seed{seed}"
    for judge in JUDGES
    for recipe in config["recipes"]
    for seed in config["training_seeds"]
]
JUDGEMENTS = [
    f"results/{DATASET}/judgements/{variant}/{run}.parquet"
    for variant in USED_VARIANTS
    for run in JUDGE_RUNS
]
JUDGES_ON_REAL = [
    f"results/{DATASET}/predictions/{run}/{IN_DISTRIBUTION}.parquet" for run in JUDGE_RUNS
]


def guidance_lines():
    """Variants that differ in their guidance only, each with the training set of it alone.

    Three points make a line.
    """
    alone = {}
    for name, mix in config["training_sets"].items():
        if mix["real"] == 0 and len(mix["variants"]) == 1:
            ((variant, share),) = mix["variants"].items()
            if share == 1:
                alone.setdefault(variant, name)
    families = {}
    for variant, training_set in alone.items():
        settings = config["variants"][variant]
        generator = config["generators"][settings["generator"]]
        drawn = {name: settings.get(name, value) for name, value in generator.items()}
        point = {
            "guidance_scale": drawn.pop("guidance_scale"),
            "variant": variant,
            "training_set": training_set,
        }
        told = {
            k: v for k, v in settings.items() if k not in {"generator", "max_fallback", *generator}
        }
        family = families.setdefault(dump_json([told, drawn]), {})
        family.setdefault(point["guidance_scale"], point)
    return [list(family.values()) for family in families.values() if len(family) >= 3]


GUIDANCE_LINES = guidance_lines()
FIDELITY_TABLES = ["fidelity", "fidelity-per-class"]
PROMPT_TABLES = ["prompts", "prompts-per-class"]
FIDELITY_REPORT = []
if USED_VARIANTS:
    FIDELITY_REPORT += [f"results/report/tables/{table}.html" for table in PROMPT_TABLES]
    if EXTRACTORS:
        FIDELITY_REPORT += [f"results/report/tables/{table}.html" for table in FIDELITY_TABLES]
        FIDELITY_REPORT.append("results/report/fidelity.png")
        if GUIDANCE_LINES:
            FIDELITY_REPORT.append("results/report/guidance.png")


def judged_files(extension):
    """The function that gives the shards of a variant, or their manifests."""

    def of(wildcards):
        folder = f"results/{DATASET}/images/{wildcards.variant}"
        return [f"{folder}/{shard}.{extension}" for shard in SHARDS]

    return of


def judged_arguments(wildcards):
    """The shards of a variant and their manifests, as arguments."""
    words = ["--tar", *judged_files("tar")(wildcards)]
    words += ["--manifest", *judged_files("jsonl")(wildcards)]
    return argument_file(f"judge-{wildcards.variant}", words)


def judged_name(wildcards):
    """The names that predictions on the images of a variant carry, as one JSON value."""
    names = ("dataset", "training_set", "recipe")
    values = {name: getattr(wildcards, name) for name in names}
    values |= {"eval_set": wildcards.variant, "seed": int(wildcards.seed)}
    return dump_json(values)


def compared_features():
    """The features that are compared: extractor, kind of images, name, files."""
    for extractor in EXTRACTORS:
        yield extractor, "real", DATASET, feature_files(extractor)
        name = f"results/features/{extractor}/eval_sets/{FIDELITY_REFERENCE}.parquet"
        yield extractor, "reference", FIDELITY_REFERENCE, [name]
        for variant in USED_VARIANTS:
            yield extractor, "variant", variant, feature_files(extractor, variant)


def fidelity_features(wildcards):
    """The files of all features that are compared."""
    return [file for *_, files in compared_features() for file in files]


def fidelity_arguments(wildcards):
    """The features that are compared, as arguments."""
    words = []
    for extractor, kind, name, files in compared_features():
        words += ["--images", extractor, kind, name, *files]
    return argument_file("fidelity", words)


def fidelity_flags(wildcards):
    """How features are compared."""
    return flags(**{name: FIDELITY[name] for name in ("max_images", "draws", "neighbours")})


def used_captioners(model):
    """The captioners of variants that are trained on whose model is ``model``."""
    names = {config["variants"][name].get("captioner") for name in USED_VARIANTS}
    names |= {config["rewriters"][name]["captioner"] for name in names & set(config["rewriters"])}
    return [
        name
        for name, captioner in config["captioners"].items()
        if name in names and Path(captioner["model"]) == Path(model)
    ]


def fidelity_spaces():
    """The feature spaces of tables and figures: what they are, and whether they are circular."""
    spaces = []
    for name in EXTRACTORS:
        extractor = config["feature_extractors"][name]
        model, drawn = extractor["model"], extractor["random_weights"]
        if drawn:
            model = f"{drawn['architecture']} of random weights (seed {drawn['seed']})"
        elif is_local(model):
            # A folder by its name: where it lies is no matter of results.
            model = Path(model).name
        captioners = [] if drawn else used_captioners(extractor["model"])
        spaces.append({"extractor": name, "model": model, "captioners": captioners})
    return spaces


def fidelity_settings(wildcards):
    """What the tables and the figure of fidelity show, as one JSON value."""
    return dump_json(
        {
            "spaces": fidelity_spaces(),
            "variants": USED_VARIANTS,
            "neighbours": FIDELITY["neighbours"],
        }
    )


def prompt_files(variant):
    """The prompts of a variant: a file each class shard."""
    return [f"results/{DATASET}/prompts/{variant}/{shard}.jsonl" for shard in SHARDS]


def all_prompt_files(wildcards):
    """The prompts of all variants that are trained on."""
    return [file for variant in USED_VARIANTS for file in prompt_files(variant)]


def prompt_arguments(wildcards):
    """The prompts of variants, and what judges say of their images, as arguments."""
    words = []
    for variant in USED_VARIANTS:
        words += ["--prompts", variant, *prompt_files(variant)]
    words += ["--judgements", *JUDGEMENTS, "--references", *JUDGES_ON_REAL]
    return argument_file("prompts", words)


def prompt_table_settings(wildcards):
    """What the tables of prompts show, as one JSON value."""
    return dump_json({"variants": USED_VARIANTS, "judge": (JUDGES or [""])[0]})


def guidance_settings(wildcards):
    """What the figure of guidance shows, as one JSON value."""
    return dump_json(
        {
            "spaces": fidelity_spaces(),
            "eval_set": IN_DISTRIBUTION,
            "lines": GUIDANCE_LINES,
        }
    )

# Config check, names and helpers. Runs again in every cluster job: nothing heavy is imported.
import itertools
import os
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

# Seen from the working directory, which is the checkout itself unless --directory says otherwise.
SCRIPTS = os.path.relpath(Path(workflow.basedir) / "workflow" / "scripts")
sys.path.insert(0, os.path.abspath(SCRIPTS))

from capsynth.configuration import class_names, complete
from capsynth.datasets.folder import source_token
from capsynth.errors import CapsynthError
from capsynth.files import dump_json
from capsynth.models import model_mark
from capsynth.prompting import STRATEGIES
from capsynth.shards import shard_name, split_shard_name
from capsynth.source_code import code_of

try:
    completed = complete(config)
except CapsynthError as error:
    raise WorkflowError(str(error)) from None
config.clear()
config.update(completed)

DATASET = config["dataset"]["name"]
CLASS_NAMES = class_names(config["dataset"])  # class_id -> class_name, in order
CLASS_IDS = list(CLASS_NAMES)
PARTS = config["dataset"]["parts_per_class"]
SHARDS = [shard_name(c, part) for c in CLASS_IDS for part in range(PARTS)]
# The image format of real shards and evaluation sets, one JSON value.
IMAGE_FORMAT = dump_json(
    {"side": config["dataset"]["image_side"], "extension": config["dataset"]["image_format"]}
)


wildcard_constraints:
    dataset="[a-z0-9][a-z0-9.-]*",
    shard=r"[^/]+-\d+",
    class_id="[^/]+",
    captioner="[a-z0-9][a-z0-9.-]*",
    variant="[a-z0-9][a-z0-9.-]*",
    training_set="[a-z0-9][a-z0-9.+-]*",
    recipe="[a-z0-9][a-z0-9.-]*",
    seed=r"\d+",
    eval_set="[a-z0-9][a-z0-9.-]*",


def flags(**values):
    """Command-line flags as one string.

    Snakemake compares params as a set of values without names: as one string with the names in
    it, two values that change places are a change.
    """
    words = []
    for name, value in sorted(values.items()):
        many = value if isinstance(value, (list, tuple)) else [value]
        words += [f"--{name.replace('_', '-')}", *(shlex.quote(str(v)) for v in many)]
    return " ".join(words)


def code(script):
    """The files of code that a rule depends on, as named single-file inputs."""
    library = Path(SCRIPTS) / "capsynth"
    path = Path(SCRIPTS) / f"{script}.py"
    modules = {
        "library_" + "_".join(file.relative_to(library).with_suffix("").parts): file
        for file in code_of(path, Path(SCRIPTS))
    }
    # How a script is started has no part in what it makes.
    warm = ancient(f"{SCRIPTS}/warm.py")
    return {"script": path, "warm": warm, **modules}


def with_local_path(model):
    """A captioner or generator whose model, if it is a folder of the checkout, is found from here."""
    folder = Path(workflow.basedir) / model["model"]
    return {**model, "model": os.path.relpath(folder)} if folder.is_dir() else model


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


def captioner_settings(wildcards):
    """The settings of a captioner as one JSON value."""
    return dump_json(with_local_path(config["captioners"][wildcards.captioner]))


def captioner_mark(wildcards):
    """The name of a captioner's weights."""
    captioner = with_local_path(config["captioners"][wildcards.captioner])
    return model_mark(captioner["model"], captioner["revision"])


def needs_captions(variant):
    """Whether a variant's prompts are made from captions."""
    return STRATEGIES[config["variants"][variant]["strategy"]].needs_captions


def variant_captions(wildcards):
    """The captions that a variant's prompts are made from, if any."""
    if not needs_captions(wildcards.variant):
        return []
    captioner = config["variants"][wildcards.variant]["captioner"]
    return [f"results/{DATASET}/captions/{captioner}/{wildcards.shard}.jsonl"]


def prompt_flags(wildcards):
    """The class, and the captions if the variant's prompts are made from captions."""
    class_id, _ = split_shard_name(wildcards.shard)
    captions = {"captions": path for path in variant_captions(wildcards)}
    return flags(class_name=CLASS_NAMES[class_id], **captions)


def prompt_settings(wildcards):
    """The prompt settings of a variant as one JSON value."""
    variant = config["variants"][wildcards.variant]
    names = ("strategy", "template", "images_per_class", "seed")
    return dump_json({"dataset": DATASET, **{name: variant.get(name) for name in names}})


def variant_generator(wildcards):
    """The generator of a variant with the variant's own settings put over it."""
    variant = config["variants"][wildcards.variant]
    generator = with_local_path(config["generators"][variant["generator"]])
    return {name: variant.get(name, value) for name, value in generator.items()}


def generator_settings(wildcards):
    """The settings of a variant's generator as one JSON value."""
    return dump_json(variant_generator(wildcards))


def generator_mark(wildcards):
    """The name of the weights of a variant's generator."""
    generator = variant_generator(wildcards)
    return model_mark(generator["model"], generator["revision"])


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


def run_name(wildcards):
    """The names that predictions carry, as one JSON value."""
    names = ("dataset", "training_set", "recipe", "eval_set")
    values = {name: getattr(wildcards, name) for name in names}
    return dump_json({**values, "seed": int(wildcards.seed)})


RUNS = [
    f"{training_set}/{recipe}/seed{seed}"
    for training_set in config["training_sets"]
    for recipe in config["recipes"]
    for seed in config["training_seeds"]
]
TABLES = {"main": "main_table", "comparisons": "comparisons", "per-class": "per_class"}
FORMATS = ["csv", "md", "tex"]
COMPARISONS = config["report"]["comparisons"]
# Captions, and the first part of each class: what a gallery can show.
GALLERY = config["report"]["gallery"]
GALLERY_SHARDS = [shard_name(class_id, 0) for class_id in CLASS_IDS]
GALLERY_CAPTIONERS = [
    config["variants"][variant]["captioner"]
    for variant in GALLERY["variants"]
    if needs_captions(variant)
][:1]
REPORT_FILES = [
    *(f"results/report/tables/{table}.html" for table in TABLES),
    "results/report/robustness.png",
    *(f"results/report/class-gains-{i}.png" for i in range(len(COMPARISONS))),
    *(["results/report/gallery.html"] if GALLERY_CAPTIONERS else []),
    *(["results/report/senses.png"] if GALLERY_CAPTIONERS and GALLERY["ambiguous"] else []),
    "results/report/stage-times.png",
]


def report_settings(wildcards):
    """What tables and figures show, and in which order, as one JSON value."""
    return dump_json(
        {
            "in_distribution": config["report"]["in_distribution"],
            "training_sets": list(config["training_sets"]),
            "eval_sets": list(config["eval_sets"]),
            "comparisons": COMPARISONS,
        }
    )


def gallery_flags(wildcards):
    """The shards that a gallery shows."""
    words = []
    for shard in GALLERY_SHARDS:
        real = f"results/{DATASET}/real/{shard}"
        words += ["--real", f"{real}.tar", f"{real}.jsonl"]
        for variant in GALLERY["variants"]:
            drawn = f"results/{DATASET}/images/{variant}/{shard}"
            words += ["--variant", variant, f"{drawn}.tar", f"{drawn}.jsonl"]
    names = flags(columns=GALLERY["variants"], images_per_class=GALLERY["images_per_class"])
    return f"{shlex.join(words)} {names}"


def benchmark_files(wildcards):
    """The benchmarks of all jobs that the scores rest on."""
    root = "results/benchmarks"
    drawn = config["dataset"]["source"] == "openmoji"
    captioners = {v["captioner"] for name, v in config["variants"].items() if needs_captions(name)}
    used = sorted({v for t in config["training_sets"].values() for v in t["variants"]})
    files = [f"{root}/collect_scores.tsv"]
    files += [f"{root}/render_openmoji/{DATASET}/{c}.tsv" for c in CLASS_IDS if drawn]
    files += [f"{root}/pack_real/{DATASET}/{shard}.tsv" for shard in SHARDS]
    files += [f"{root}/pack_eval_set/{eval_set}.tsv" for eval_set in config["eval_sets"]]
    for shard in SHARDS:
        files += [f"{root}/caption_images/{DATASET}/{c}/{shard}.tsv" for c in sorted(captioners)]
        for variant, stage in itertools.product(used, ("write_prompts", "generate_images")):
            files.append(f"{root}/{stage}/{DATASET}/{variant}/{shard}.tsv")
    files += [f"{root}/train_classifier/{DATASET}/{run}.tsv" for run in RUNS]
    for run, eval_set in itertools.product(RUNS, config["eval_sets"]):
        files.append(f"{root}/evaluate_classifier/{DATASET}/{run}/{eval_set}.tsv")
    return files

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
from capsynth.generators import lora_file
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

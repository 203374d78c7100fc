# Config check, names and helpers. Runs again in every cluster job: nothing heavy is imported.
import shlex

# How a script is started, its name behind a slash: plainly, or warm (docs/warm-start.md). It takes
# the shell's place: SLURM's SIGTERM would end a shell at once, and with it the job.
PLAIN = f"exec python {shlex.quote(SCRIPTS)}"
RUN = f"exec python {shlex.quote(SCRIPTS)}/warm.py run {shlex.quote(SCRIPTS)}"

from capsynth.caches import keep_caches
from capsynth.configuration import class_table, complete
from capsynth.files import dump_json
from capsynth.job_environment import prepare_environment
from capsynth.class_words import check_class_words, class_fields
from capsynth.shards import shard_name, split_shard_name

# Jobs inherit it; nodes of a cluster may have no home.
keep_caches(Path(".snakemake/caches"))
prepare_environment(os.environ, sys.executable, Path(".snakemake/python"))

try:
    completed = complete(config, SOURCES)
    # class_id -> ClassInfo, in order
    CLASSES = class_table(completed["dataset"], class_fields(completed["variants"].values()))
    check_class_words(completed["variants"], CLASSES.values())
except CapsynthError as error:
    raise WorkflowError(str(error)) from None
config.clear()
config.update(completed)

DATASET = config["dataset"]["name"]
CLASS_NAMES = {class_id: about.class_name for class_id, about in CLASSES.items()}
CLASS_IDS = list(CLASSES)
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
    half=r"\d+",
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

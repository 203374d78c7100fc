# Models and data sets that are fetched: which there are, where they lie, what jobs are told of them.
import functools
from dataclasses import asdict, replace

from capsynth.fetching import hub
from capsynth.generators import lora_file
from capsynth.models import LOCAL, lora_role, model_mark, note_weights
from capsynth.offline import COMMAND_VARIABLE, go_offline

DOWNLOADS = config["download_folder"]
LOCK = f"{DOWNLOADS}/lock.json"
# What local weights are and where they lie, for the jobs that read them.
WEIGHTS = Path("results/.weights")
# Sections whose entries name a model; a section that a configuration lacks has none.
MODEL_SECTIONS = ("captioners", "rewriters", "generators", "feature_extractors")

# Jobs inherit this, those of a cluster read it here again: only prefetch asks the hub.
go_offline()
os.environ.setdefault(
    COMMAND_VARIABLE,
    shlex.join(
        [
            *("snakemake", "prefetch", "--cores", "1"),
            *(["--configfile"] if workflow.overwrite_configfiles else []),
            *(os.path.relpath(path) for path in workflow.overwrite_configfiles),
            *(
                ["--replace-workflow-config"]
                if workflow.config_settings.replace_workflow_config
                else []
            ),
        ]
    ),
)


wildcard_constraints:
    download="[a-z0-9][a-z0-9.-]*",
    repository="[^/]+",


@functools.cache
def is_local(model):
    """Whether a model is a folder or file of the user's, and none of the hub."""
    named = os.path.isabs(model) or model.startswith(("./", "../", "~"))
    return named or (Path(workflow.basedir) / model).exists()


@functools.cache
def model_path(model, revision=None):
    """Where a model lies, seen from here; the same before and after it was fetched."""
    if not is_local(model):
        return f"{DOWNLOADS}/models/{hub.slug_of(model, revision)}"
    path = Path(workflow.basedir) / model
    return os.path.relpath(path) if path.exists() else os.path.expanduser(model)


def with_local_path(entry):
    """A captioner, rewriter or generator as its jobs are told: where a hub model lies, seen from here.

    Local weights are told by what they are (``local_mark``): a folder that was moved is the same.
    """
    if entry["model"] is None:  # a network of random weights
        return entry
    loras = [
        (
            {**lora, "path": LOCAL, "weight_name": None}
            if is_local(lora["path"])
            else {**lora, "path": model_path(lora["path"], lora.get("revision"))}
        )
        for lora in entry.get("lora") or []
    ]
    hub_path = model_path(entry["model"], entry.get("revision"))
    path = LOCAL if is_local(entry["model"]) else hub_path
    return {**entry, "model": path, **({"lora": loras} if "lora" in entry else {})}


def check_hub_id(what, name, root, folder):
    """Tell of a name that is neither that of a folder nor one of the hub."""
    try:
        hub.require_hub_id(what, name, root, Path(folder))
    except CapsynthError as error:
        raise WorkflowError(str(error)) from None


def model_requests(entry):
    """What an entry that names a model wants of the hub: that model, and its LoRA weights."""
    wanted = [(entry["model"], entry.get("revision"), None)]
    for lora in entry.get("lora") or []:
        wanted.append((lora["path"], lora.get("revision"), lora.get("weight_name")))
    requests = []
    for name, revision, file in wanted:
        if name is None or is_local(name):
            continue
        check_hub_id("model", name, Path(workflow.basedir), model_path(name, revision))
        requests.append(hub.Request(name, hub.MODEL, revision, (file,) if file else ()))
    return requests


def model_locks(entry):
    """The stamps of the hub models of an entry: inputs of the jobs that read them."""
    return [f"{model_path(r.id, r.revision)}.json" for r in model_requests(entry)]


def local_mark(entry):
    """The name of the weights of an entry that are no hub models, ``none`` if there are none."""
    loras = [(lora["path"], lora.get("weight_name")) for lora in entry.get("lora") or []]
    return noted_weights(entry["model"], tuple(loras))


@functools.cache
def noted_weights(model, loras):
    """The name of local weights; what they are and where they lie is noted for their jobs."""
    try:
        places = {"model": Path(model_path(model))} if model and is_local(model) else {}
        for number, (path, weight_name) in enumerate(loras):
            if is_local(path):
                places[lora_role(number)] = lora_file(model_path(path), weight_name)
        return note_weights(places, WEIGHTS)
    except (CapsynthError, OSError) as error:
        raise WorkflowError(str(error)) from None


@functools.cache
def weights_of(path):
    """The name of the content of a folder or file of weights."""
    return model_mark(path, WEIGHTS / "digests")


def used_models():
    """The entries of the model sections that training sets, galleries and exports rest on."""
    variants = {v for mix in config["training_sets"].values() for v in mix["variants"]}
    variants |= {*config["report"]["gallery"]["variants"], *config["export"]["variants"]}
    names = set()
    for variant in variants:
        values = config["variants"][variant]
        names.add(("generators", values["generator"]))
        if needs_captions(variant):
            names.add(("captioners", values["captioner"]))
    entries = []
    while names:
        section, name = names.pop()
        if section == "captioners" and name not in config["captioners"]:
            section = "rewriters"
        entry = config[section][name]
        entries.append(entry)
        if entry.get("captioner"):  # a rewriter works on the captions of another
            names.add(("captioners", entry["captioner"]))
    return [*entries, *config.get("feature_extractors", {}).values()]


def data_requests(entry):
    """What a data set or evaluation set wants of the hub; its path may be a folder as well."""
    if entry["source"] != "huggingface":
        return []
    path = entry["path"]
    if Path(path).is_dir() or not hub.is_hub_id(path):
        return []
    slug = hub.slug_of(path, entry["revision"])
    check_hub_id("data set", path, Path(), f"{DOWNLOADS}/datasets/{slug}")
    return [hub.Request(path, hub.DATASET, entry["revision"])]


def data_names(entry):
    """The registered downloads of a data set or evaluation set."""
    names = entry.get("download") or []
    return [names] if isinstance(names, str) else list(names)


def merged_requests():
    """Every request of the configuration by its stamp; weight files of one repository together."""
    entries = [e for s in MODEL_SECTIONS for e in config.get(s, {}).values()]
    requests = [request for entry in entries for request in model_requests(entry)]
    for entry in (config["dataset"], *config["eval_sets"].values()):
        requests += data_requests(entry)
    merged = {}
    for request in requests:
        other = merged.setdefault(request_stamp(request), request)
        # Without a name, one of them wants all.
        files = {*request.files, *other.files} if request.files and other.files else ()
        merged[request_stamp(request)] = replace(request, files=tuple(sorted(files)))
    return merged


def request_stamp(request):
    """The stamp of a repository of the hub."""
    section = "datasets" if request.kind == hub.DATASET else "models"
    return f"{DOWNLOADS}/{section}/{hub.slug_of(request.id, request.revision)}.json"


def request_json(section):
    """The function that gives a download job its request as one JSON value."""

    def of(wildcards):
        stamp = f"{DOWNLOADS}/{section}/{wildcards.repository}.json"
        if stamp not in REQUESTS:
            raise WorkflowError(f"{stamp}: nothing in the configuration is of this name")
        return dump_json(asdict(REQUESTS[stamp]))

    return of


def prefetch_stamps(wildcards):
    """The stamps of all that the default target needs."""
    sets = (config["dataset"], *config["eval_sets"].values())
    requests = [request for entry in used_models() for request in model_requests(entry)]
    requests += [request for entry in sets for request in data_requests(entry)]
    names = [name for entry in sets for name in data_names(entry)]
    stamps = [f"{DOWNLOADS}/data/{name}.json" for name in names]
    return sorted({*stamps, *map(request_stamp, requests)})


REQUESTS = merged_requests()

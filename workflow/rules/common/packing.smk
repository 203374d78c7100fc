# Real images and evaluation sets: what their rules read and are told.
import functools
import itertools

from capsynth.datasets.folder import NEVER_PACKED, drawn_token, files_token, source_token
from capsynth.datasets.imagenet import subset
from capsynth.datasets.layouts import (
    CORRUPTION_FOLDERS,
    UNKNOWN_LAYOUT,
    check_mapped,
    class_folders,
    answer_groups,
    mapped_classes,
    read_class_map,
    unknown_folders,
)
from capsynth.datasets.missing import missing_message
from capsynth.datasets.openmoji.unknown import UNKNOWN_BY_ID
from capsynth.datasets.rows import SourceSettings
from capsynth.datasets.sources import (
    SOURCES,
    SUMMARY,
    class_digests,
    class_token,
    index_token,
    read_class_index,
    source_of,
)
from capsynth.fingerprints import fingerprint


def downloaded(entry):
    """What has to be downloaded for an entry: places below the download folder."""
    requests = [f"datasets/{hub.slug_of(r.id, r.revision)}" for r in data_requests(entry)]
    return requests or [f"data/{name}" for name in data_names(entry)]


def source_roots(entry):
    """The folders, or patterns of tars, that the data set or an evaluation set is read from."""
    places = [f"{config['download_folder']}/{place}" for place in downloaded(entry)]
    paths = entry["path"] or []
    return places or ([paths] if isinstance(paths, str) else paths)


def download_stamps(entry):
    """The files that say that what an entry reads has been downloaded."""
    return [f"{config['download_folder']}/{place}.json" for place in downloaded(entry)]


def source_settings(entry):
    """A source of few large files, as the library knows it."""
    names = ("label_key", "label_classes", "split", "image_column", "label_column")
    values = {name: entry[name] for name in names}
    return SourceSettings(entry["source"], source_roots(entry)[0], **values)


def selection(entry):
    """What is taken of a source, one JSON value."""
    drawn = entry["source"] == "openmoji"
    return dump_json(
        {
            "share": [0.0, 1.0] if drawn else entry["share"],
            "images_per_class": None if drawn else entry["images_per_class"],
            "sample_seed": entry.get("sample_seed", 0),  # evaluation sets have none
        }
    )


@functools.cache
def class_map_of(eval_set_name):
    """Which classes the folders of an evaluation set stand for; None if they are named by class."""
    class_map = config["eval_sets"][eval_set_name]["class_map"]
    return read_class_map(Path(class_map)) if class_map else None


@functools.cache
def eval_class_ids(eval_set_name):
    """The classes of an evaluation set, in the order of CLASS_IDS."""
    eval_set = config["eval_sets"][eval_set_name]
    kept = eval_set["classes"]
    kept = set(CLASS_IDS if kept is None else subset(kept) if isinstance(kept, str) else kept)
    if eval_set["class_map"] is not None:
        check_mapped(class_map_of(eval_set_name), CLASS_IDS)
        eval_answer_groups(eval_set_name)  # told before the first job, if folders contradict
        # A class that is only the second of its folders has no image: see eval_answer_groups.
        wanted = [class_id for class_id in CLASS_IDS if class_id in kept]
        kept = mapped_classes(class_map_of(eval_set_name), wanted)
    class_ids = [class_id for class_id in CLASS_IDS if class_id in kept]
    if not class_ids:
        raise WorkflowError(
            f"eval_sets.{eval_set_name}: none of its classes is one of the data set; mend its "
            "classes or class_map, or remove the set"
        )
    return class_ids


@functools.cache
def eval_answer_groups(eval_set_name):
    """The answers that are right for classes of an evaluation set, where one has several."""
    class_map = class_map_of(eval_set_name)
    if class_map is None:
        return {}
    kept = config["eval_sets"][eval_set_name]["classes"]
    kept = CLASS_IDS if kept is None else subset(kept) if isinstance(kept, str) else kept
    groups = answer_groups(class_map, set(CLASS_IDS) & set(kept))
    return {class_id: group for class_id, group in groups.items() if len(group) > 1}


@functools.cache
def eval_class_folders(eval_set_name):
    """The class folders of an evaluation set on disk; of unknown images the folders they are in."""
    eval_set = config["eval_sets"][eval_set_name]
    if eval_set["unknown"] and eval_set["source"] != "openmoji":
        roots = [Path(root) for root in source_roots(eval_set)]
        # Roots that are missing are told with all others that are.
        return unknown_folders(roots) if all(root.exists() for root in roots) else []
    if eval_set["source"] == "openmoji":
        roots, layout = [f"results/eval_sets/source/{eval_set_name}"], "class-folders"
    else:
        roots, layout = source_roots(eval_set), eval_set["layout"]
    return class_folders(
        [Path(root) for root in roots],
        layout,
        eval_class_ids(eval_set_name),
        class_map_of(eval_set_name),
        list(itertools.product(eval_set["corruptions"], eval_set["severities"])),
    )


@functools.cache
def check_sources():
    """Tell of all images that are missing at once, as soon as a job needs any of them.

    Not before: `snakemake prefetch` runs where they are not.
    """
    wanted = []
    if config["dataset"]["source"] != "openmoji" and not download_stamps(config["dataset"]):
        root = source_roots(config["dataset"])[0]
        folders = []
        if config["dataset"]["source"] == "folder":
            folders = [Path(root) / class_id for class_id in CLASS_IDS]
        wanted.append(("dataset.path", [root], folders))
    for name, eval_set in config["eval_sets"].items():
        if eval_set["source"] == "openmoji" or download_stamps(eval_set):
            continue
        folders = []
        if eval_set["source"] == "folder":
            folders = [folder.path for folder in eval_class_folders(name)]
        wanted.append((f"eval_sets.{name}.path", source_roots(eval_set), folders))
    if message := missing_message(wanted, CLASS_IDS):
        raise WorkflowError(message)


def is_indexed():
    """Whether the data set lies in few large files."""
    return config["dataset"]["source"] in SOURCES


def class_folder(wildcards):
    """The folder that holds the real images of a shard's class; none if they lie elsewhere."""
    class_id, _ = split_shard_name(wildcards.shard)
    if config["dataset"]["source"] == "openmoji":
        return f"results/{DATASET}/source/{class_id}"
    return f"{source_roots(config['dataset'])[0]}/{class_id}"


def drawn_class_folder(wildcards):
    """The class folder as an input, if it is drawn.

    What the user has is no input but checked here, and watched by its contents (``shard_token``):
    Snakemake fails a job whose input is dated later than its outputs, which is so for ever of a
    folder that a machine with a wrong clock has written.
    """
    warn_of_images()
    if config["dataset"]["source"] == "openmoji":
        return class_folder(wildcards)
    check_sources()
    return []


def class_folder_stamp(wildcards):
    """What was drawn into the class folder; a folder of the user's has no stamp."""
    class_id, _ = split_shard_name(wildcards.shard)
    drawn = config["dataset"]["source"] == "openmoji"
    return [f"results/{DATASET}/source/{class_id}.json"] if drawn else []


def class_rows(wildcards):
    """The index of a shard's class, of a data set in few large files.

    It is ancient as long as the images of the class are those that were packed. A scan writes the
    indices of all classes anew, and Snakemake looks for no other reason to run what depends on a
    job that runs: a class that changed has to depend on the scan in earnest.
    """
    if not is_indexed():
        return []
    class_id, _ = split_shard_name(wildcards.shard)
    rows = f"results/{DATASET}/source/{class_id}.jsonl"
    packed = Path(f"results/{DATASET}/real/.{wildcards.shard}.sources.json")
    is_packed = packed.exists() and read_class_index(packed)["token"] == shard_token(wildcards)
    return [ancient(rows) if is_packed else rows]


def dataset_stamps(wildcards):
    """What says that the data set has been downloaded."""
    return download_stamps(config["dataset"])


def source_is_there():
    """Whether a data set in few large files can be looked at; it may be fetched meanwhile."""
    if not download_stamps(config["dataset"]):
        check_sources()
        return True
    return all(Path(stamp).exists() for stamp in download_stamps(config["dataset"]))


def digests_of_classes():
    """The names of the contents of all classes of a data set in few large files."""
    if not source_is_there():
        return {}
    summary = Path(f"results/{DATASET}/source/{SUMMARY}")
    return digests_after_scan(summary.stat().st_mtime_ns if summary.exists() else None)


@functools.cache
def digests_after_scan(scanned_ns):
    """These names, for as long as there is no other scan: a job of this run may scan anew."""
    folder = Path(f"results/{DATASET}/source")
    return class_digests(source_settings(config["dataset"]), CLASS_IDS, folder)


def shard_token(wildcards):
    """The name of the contents of a shard's class.

    As all params, it is worked out here and, later, on the node that runs the job, and has to be
    the same: it may depend on what the user has, and on nothing that another job makes anew.
    """
    class_id, _ = split_shard_name(wildcards.shard)
    index = Path(f"results/{DATASET}/real/.{wildcards.shard}.sources.json")
    if is_indexed():
        return class_token(digests_of_classes().get(class_id), index)
    if config["dataset"]["source"] == "openmoji":
        folder = Path(f"results/{DATASET}/source")
        return drawn_token(folder, folder / f"{class_id}.json", index)
    return source_token({class_id: Path(class_folder(wildcards))}, index)


def shard_source(wildcards):
    """Where the images of a shard lie."""
    if not is_indexed():
        return flags(folder=class_folder(wildcards))
    source = dump_json(vars(source_settings(config["dataset"])))
    class_id, _ = split_shard_name(wildcards.shard)
    return flags(source=source, rows=f"results/{DATASET}/source/{class_id}.jsonl")


def index_flags(wildcards):
    """What is scanned, and the name of what it holds."""
    settings = source_settings(config["dataset"])
    folder = Path(f"results/{DATASET}/source")
    return flags(
        source=dump_json(vars(settings)),
        class_ids=CLASS_IDS,
        source_token=index_token(settings, folder) if source_is_there() else NEVER_PACKED,
    )


def drawn_eval_folder(wildcards):
    """The folder of an evaluation set as an input, if it is drawn; see ``drawn_class_folder``."""
    if config["eval_sets"][wildcards.eval_set]["source"] == "openmoji":
        return [f"results/eval_sets/source/{wildcards.eval_set}"]
    check_sources()
    return []


def eval_class_map(wildcards):
    """A name of what the class map of an evaluation set says; empty if it has none."""
    class_map = class_map_of(wildcards.eval_set)
    return fingerprint(class_map) if class_map else ""


def eval_folder_stamp(wildcards):
    """What was drawn into an evaluation set's folder; a folder of the user's has no stamp."""
    drawn = config["eval_sets"][wildcards.eval_set]["source"] == "openmoji"
    return [f"results/eval_sets/source/{wildcards.eval_set}.json"] if drawn else []


def eval_stamps(wildcards):
    """What says that an evaluation set has been downloaded."""
    return download_stamps(config["eval_sets"][wildcards.eval_set])


def eval_token(wildcards):
    """The name of the contents of an evaluation set."""
    name = wildcards.eval_set
    eval_set = config["eval_sets"][name]
    index = Path(f"results/eval_sets/.{name}.sources.json")
    if not all(Path(stamp).exists() for stamp in download_stamps(eval_set)):
        return NEVER_PACKED
    if eval_set["source"] in SOURCES:
        check_sources()
        settings = source_settings(eval_set)
        return files_token(source_of(settings).paths(settings), index)
    if eval_set["source"] == "openmoji":
        folder = Path(f"results/eval_sets/source/{name}")
        return drawn_token(folder, folder.with_name(f"{name}.json"), index)
    if eval_set["layout"] == CORRUPTION_FOLDERS:
        return NEVER_PACKED
    return source_token({f.label: f.path for f in eval_class_folders(name)}, index)


def eval_source(wildcards):
    """Where the images of an evaluation set lie, and what they are."""
    name = wildcards.eval_set
    eval_set = config["eval_sets"][name]
    if eval_set["unknown"]:
        if eval_set["source"] == "openmoji":
            folder = f"results/eval_sets/source/{name}"
            return flags(folder=folder, class_ids=unknown_kinds(name))
        return flags(folder=source_roots(eval_set), layout=UNKNOWN_LAYOUT)
    classes = {"class_ids": CLASS_IDS}
    if eval_class_ids(name) != CLASS_IDS:
        classes["kept_class_ids"] = eval_class_ids(name)
    if eval_set["source"] == "openmoji":
        return flags(folder=f"results/eval_sets/source/{name}", **classes)
    if eval_set["source"] in SOURCES:
        return flags(source=dump_json(vars(source_settings(eval_set))), **classes)
    if eval_set["class_map"]:
        classes["class_map"] = eval_set["class_map"]
    return flags(folder=source_roots(eval_set), layout=eval_set["layout"], **classes)


def eval_selection(wildcards):
    """What is taken of an evaluation set's source."""
    return selection(config["eval_sets"][wildcards.eval_set])


def eval_corruption_flags(wildcards):
    """How the images of an evaluation set are corrupted."""
    eval_set = config["eval_sets"][wildcards.eval_set]
    names = ("corruption_library", "corruption_side")
    given = {name: eval_set[name] for name in names if eval_set[name] is not None}
    return flags(corruptions=eval_set["corruptions"], severities=eval_set["severities"], **given)


def eval_threads(wildcards):
    """Processes of a packing: the 75 corruptions of ImageNet-C take seconds an image."""
    is_slow = config["eval_sets"][wildcards.eval_set]["corruption_library"] == "imagecorruptions"
    return 8 if is_slow else 1


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
    is_unknown = config["eval_sets"][wildcards.eval_set]["unknown"]
    drawn = unknown_kinds if is_unknown else eval_class_ids
    return flags(class_ids=drawn(wildcards.eval_set), **values)


def unknown_kinds(eval_set_name):
    """The kinds of things that a set of the embedded world shows of which none is a class."""
    return config["eval_sets"][eval_set_name]["classes"] or list(UNKNOWN_BY_ID)

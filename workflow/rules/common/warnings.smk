# What the configuration says of the images that is no error, and that a user would want to know first.
import functools
import os

from snakemake.logging import logger

from capsynth.corruption_baselines import resized_sets
from capsynth.datasets.entries import class_entries
from capsynth.datasets.overlaps import Taken, equal_classes, overlaps
from capsynth.names import shown


def dataset_folders():
    """The folder of each class of a data set of folders, links resolved; none of other sources."""
    if config["dataset"]["source"] != "folder":
        return {}
    root = source_roots(config["dataset"])[0]
    return {class_id: os.path.realpath(f"{root}/{class_id}") for class_id in CLASS_IDS}


def places_of(name, entry):
    """Where the images of the data set (no name) or of an evaluation set lie, links resolved."""
    if entry["source"] == "openmoji" or entry.get("layout") == CORRUPTION_FOLDERS:
        return frozenset()
    if entry["source"] == "folder":
        folders = eval_class_folders(name) if name else ()
        return frozenset([os.path.realpath(f.path) for f in folders] or dataset_folders().values())
    settings = source_settings(entry)
    try:
        files = map(os.path.realpath, source_of(settings).paths(settings).values())
    except CapsynthError:  # not there yet
        files = [os.path.realpath(settings.path)]
    return frozenset(f"{file} {settings.split}" if settings.split else file for file in files)


def taken_by(key, name, entry):
    """What the data set or an evaluation set takes, as the library knows it."""
    return Taken(key, places_of(name, entry), tuple(entry["share"] or (0.0, 1.0)))


def image_warnings():
    """Lines on images that are used twice, or that lie beside what is read."""
    sets = {name: config["eval_sets"][name] for name in config["eval_sets"]}
    taken = {name: taken_by(f"eval_sets.{name}", name, entry) for name, entry in sets.items()}
    reported = [taken[name] for name in REPORTED_EVAL_SETS]
    lines = overlaps(
        taken_by("dataset", None, config["dataset"]),
        reported,
        taken.get(CALIBRATION_SET),
        taken.get(CURVE_SET),
    )
    lines += resized_sets(config["recipes"], sets)
    lines += equal_classes(CLASSES.values(), dataset_folders())
    if config["dataset"]["source"] == "folder" and config["dataset"]["classes"] is None:
        root = config["dataset"]["path"]
        if others := class_entries(Path(root))[2]:
            lines.append(
                f"not read in {root}, whose folders are the classes: "
                f"{', '.join(map(shown, others[:3]))}{f' and {len(others) - 3} more' if others[3:] else ''}"
            )
    return lines


@functools.cache
def warn_of_images():
    """Tell it once a run, before its first job: not in each of its jobs, nor to who only looks."""
    targets = set(workflow.dag_settings.targets)
    if not workflow.is_main_process or (targets and targets <= LOOKS):
        return
    try:
        for line in image_warnings():
            logger.warning(f"warning: {line}")
    except (CapsynthError, WorkflowError):
        pass  # whoever needs these images says what is wrong with them

"""What the schema cannot check of unknown images and of groups."""

from collections.abc import Iterator
from typing import Any

from capsynth.config_entries import entries_of, list_of, section_of
from capsynth.datasets.openmoji.unknown import UNKNOWN, UNKNOWN_BY_ID
from capsynth.groups import BACKGROUND, EMBEDDED
from capsynth.schema_messages import did_you_mean


def check_unknown_sets(config: Any) -> Iterator[str]:
    """Yield what is wrong with evaluation sets whose images are of no class."""
    sets = dict(entries_of(config, "eval_sets"))
    unknown = [name for name, entry in sets.items() if entry.get("unknown") is True]
    report = section_of(config, "report")
    for key in ("in_distribution", "calibration_set"):
        if report.get(key) in unknown:
            yield (
                f"report.{key}: the images of {report[key]!r} are of no class (unknown: true); "
                "name a set of images of the classes"
            )
    robustness = section_of(report, "robustness")
    for shifted, clean in section_of(robustness, "clean").items():
        if shifted in unknown or clean in unknown:
            yield (
                f"report.robustness.clean.{shifted}: there is no accuracy on unknown images; "
                "remove it"
            )
    for shifted in section_of(robustness, "published"):
        if shifted in unknown:
            yield (
                f"report.robustness.published.{shifted}: there is no accuracy on unknown images; "
                "remove it"
            )
    for name, entry in sets.items():
        where = f"eval_sets.{name}"
        is_drawn = entry.get("source") == "openmoji"
        if is_drawn and (entry.get("split") == UNKNOWN) != (name in unknown):
            yield (
                f"{where}.unknown: the split unknown, and no other, shows things of no class; "
                "write split: unknown and unknown: true, or neither"
            )
        if name not in unknown:
            continue
        for key in ("class_map", "corruptions", "label_key", "label_classes", "groups"):
            if entry.get(key):
                yield f"{where}.{key}: unknown images have no classes or corruptions; remove it"
        if is_drawn:
            for index, kind in enumerate(list_of(entry, "classes")):
                if isinstance(kind, str) and kind not in UNKNOWN_BY_ID:
                    hint = did_you_mean(kind, list(UNKNOWN_BY_ID)) or ";"
                    known = ", ".join(UNKNOWN_BY_ID)
                    yield f"{where}.classes[{index}]: {kind!r} is not drawn{hint} known: {known}"
        elif entry.get("source") in ("webdataset", "huggingface"):
            yield f"{where}.source: unknown images are read from folders; write source: folder"
        elif entry.get("classes"):
            yield f"{where}.classes: all folders of unknown images are taken; remove it"


def check_groups(config: Any) -> Iterator[str]:
    """Yield what is wrong with how evaluation sets are grouped."""
    calibration = section_of(config, "report").get("calibration_set")
    for name, entry in entries_of(config, "eval_sets"):
        by = entry.get("groups")
        if not isinstance(by, str):
            continue
        where = f"eval_sets.{name}.groups"
        if entry.get("corruptions"):
            yield f"{where}: corrupted images are not grouped; group the set of the clean ones"
        if name == calibration:
            yield f"{where}: {name!r} is report.calibration_set and not reported; remove it"
        if entry.get("source") == "openmoji":
            if by not in EMBEDDED:
                hint = did_you_mean(by, EMBEDDED) or ";"
                yield f"{where}: {by!r} is not known{hint} write {' or '.join(EMBEDDED)}"
            elif entry.get("split") == "sketch":
                yield f"{where}: sketches have no {BACKGROUND}; remove it"

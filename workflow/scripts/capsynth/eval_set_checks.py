"""Evaluation sets with a purpose of their own: what the schema cannot check of them."""

from collections.abc import Iterator
from typing import Any

from capsynth.config_entries import list_of, section_of


def check_set_aside(config: Any) -> Iterator[str]:
    """Yield what is wrong with the sets of calibration, learning curves and probes."""
    yield from _check_calibration_set(config)
    yield from _check_curve_set(config)
    yield from _check_probe_sets(config)


def _check_calibration_set(config: Any) -> Iterator[str]:
    report = section_of(config, "report")
    name = report.get("calibration_set")
    if not isinstance(name, str):
        return
    if name == report.get("in_distribution"):
        yield (
            f"report.calibration_set: {name!r} is report.in_distribution, and what is fitted on a "
            "set is not measured on it; name another set of the same distribution"
        )
    entry = section_of(section_of(config, "eval_sets"), name)
    for key in ("classes", "corruptions"):
        if entry.get(key):
            yield (
                f"report.calibration_set: {name!r} has {key}; name a set of plain images of all "
                "classes"
            )


def _check_curve_set(config: Any) -> Iterator[str]:
    report = section_of(config, "report")
    name = section_of(config, "learning_curves").get("eval_set")
    if not isinstance(name, str):
        return
    for key in ("in_distribution", "calibration_set"):
        if name == report.get(key):
            yield (
                f"learning_curves.eval_set: {name!r} is report.{key}, and whoever looks at "
                "learning curves may choose by them; name a set that is used for nothing else"
            )
    robustness = section_of(report, "robustness")
    for key in ("clean", "published"):
        pairs = section_of(robustness, key).items()
        if any(name in pair for pair in pairs):
            yield (
                f"report.robustness.{key}: names {name!r}, which is learning_curves.eval_set and "
                "not reported; name another set"
            )
    entry = section_of(section_of(config, "eval_sets"), name)
    for key in ("classes", "corruptions", "unknown"):
        if entry.get(key):
            yield (
                f"learning_curves.eval_set: {name!r} has {key}; name a set of plain images of all "
                "classes"
            )


def _check_probe_sets(config: Any) -> Iterator[str]:
    sets = section_of(config, "eval_sets")
    for index, name in enumerate(list_of(section_of(config, "probes"), "eval_sets")):
        entry = sets.get(name) if isinstance(name, str) else None
        if isinstance(entry, dict) and not entry.get("unknown"):
            yield (
                f"probes.eval_sets[{index}]: the classes of {name!r} are those that classifiers "
                "were trained on; name a set with unknown: true"
            )

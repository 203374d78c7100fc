"""Images that sets have in common: told by where they lie or come from, before a run."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from capsynth.classes import ClassInfo

# Names that a line gives.
SHOWN = 3


@dataclass(frozen=True)
class Taken:
    """What a data set or an evaluation set takes.

    Attributes:
        key: Its place in the configuration.
        places: Names of the folders or files that its images lie in, the same of the same ones.
        share: The slice of them that it takes.
    """

    key: str
    places: frozenset[str]
    share: tuple[float, float] = (0.0, 1.0)


def overlaps(
    dataset: Taken,
    eval_sets: Sequence[Taken],
    calibration: Taken | None,
    held_out: Taken | None = None,
) -> list[str]:
    """Return a line on each evaluation set whose images are used for something else too.

    Args:
        dataset: The data set.
        eval_sets: The evaluation sets that are reported.
        calibration: The evaluation set that temperatures are fitted to, if there is one.
        held_out: The evaluation set of learning curves, if there is one.
    """
    seen = "classifiers are evaluated on what they were trained on"
    lines = [_line(one, dataset, seen) for one in eval_sets if _meet(dataset, one)]
    if calibration:
        if _meet(dataset, calibration):
            lines.append(_line(calibration, dataset, seen))
        fitted = "temperatures are judged on what they were fitted to"
        lines += [_line(one, calibration, fitted) for one in eval_sets if _meet(calibration, one)]
    if held_out:
        if _meet(dataset, held_out):
            trained = "learning curves are of images that classifiers were trained on"
            lines.append(_line(held_out, dataset, trained))
        shown = "learning curves show the images that are reported"
        lines += [_line(one, held_out, shown) for one in eval_sets if _meet(held_out, one)]
    return lines


def _meet(one: Taken, other: Taken) -> bool:
    (low, high), (other_low, other_high) = one.share, other.share
    return not one.places.isdisjoint(other.places) and low < other_high and other_low < high


def not_independent(eval_sets: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the evaluation sets whose images are those of others: subsets and mixtures.

    A test of each would ask the same question twice. What they take is compared as the
    configuration names it, so that the answer does not change with what is downloaded. Corrupted
    images are others than clean ones. Of sets that share images, that goes first which shares them
    with most others, then a set of some classes, then one of some images, then the last named.

    Args:
        eval_sets: Completed entries of the configuration by name.

    Returns:
        Their names, in the order given.
    """
    kept = dict(eval_sets)
    while True:
        meeting = {
            name: sum(other != name and _same_images(entry, kept[other]) for other in kept)
            for name, entry in kept.items()
        }
        if not any(meeting.values()):
            return [name for name in eval_sets if name not in kept]

        def rank(name: str, meeting: Mapping[str, int] = meeting) -> tuple[int, bool, bool, int]:
            entry = kept[name]
            limited = entry.get("images_per_class") is not None
            place = list(eval_sets).index(name)
            return (meeting[name], entry.get("classes") is not None, limited, place)

        del kept[max(kept, key=rank)]


def _same_images(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two entries of evaluation sets take some image in common."""
    alike = ("corruptions", "severities", "source", "split", "seed", "class_map", "context_bias")
    if any((one.get(name) or None) != (other.get(name) or None) for name in alike):
        return False
    roots = [
        {str(root) for key in ("path", "download") for root in _as_list(entry.get(key))}
        for entry in (one, other)
    ]
    (low, high), (other_low, other_high) = (e.get("share") or (0.0, 1.0) for e in (one, other))
    same_place = roots[0] == roots[1] or not roots[0].isdisjoint(roots[1])
    return same_place and bool(low < other_high and other_low < high)


def _as_list(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]


def _line(one: Taken, other: Taken, consequence: str) -> str:
    shared = sorted(one.places & other.places)
    more = f" and {len(shared) - 1} more" if len(shared) > 1 else ""
    slices = " and ".join(f"[{low:g}, {high:g})" for low, high in (other.share, one.share))
    return (
        f"{one.key} takes images of {other.key} (of {shared[0]}{more}, shares {slices}): "
        f"{consequence}; give them shares that do not overlap, or other images"
    )


def equal_classes(classes: Iterable[ClassInfo], folders: Mapping[str, str]) -> Iterator[str]:
    """Yield a line on each group of classes that have one name, or that are one folder.

    Args:
        classes: The classes.
        folders: The folder of each class where the data set lies in folders, the same of the same
            ones.
    """
    by_name: dict[str, list[str]] = {}
    by_folder: dict[str, list[str]] = {}
    for about in classes:
        by_name.setdefault(" ".join(about.class_name.casefold().split()), []).append(about.class_id)
        if about.class_id in folders:
            by_folder.setdefault(folders[about.class_id], []).append(about.class_id)
    for name, class_ids in by_name.items():
        if len(class_ids) > 1:
            yield (
                f"the classes {_listed(class_ids)} are all called {name!r}: prompts cannot tell "
                "them apart; give them names of their own in dataset.classes"
            )
    for folder, class_ids in by_folder.items():
        if len(class_ids) > 1:
            yield (
                f"the classes {_listed(class_ids)} are one folder, {folder}: their images are the "
                "same; take all but one off dataset.classes"
            )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}"

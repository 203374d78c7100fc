"""Groups of the samples of an evaluation set: class and an attribute, such as the background.

Sagawa et al., Distributionally Robust Neural Networks for Group Shifts, ICLR 2020. The attribute of
a scene of the embedded world is known to its renderer; elsewhere a CSV file of the user's has it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from capsynth.errors import CapsynthError
from capsynth.names import check_name
from capsynth.shards import ShardRecord
from capsynth.user_files import csv_rows, read_text

BACKGROUND = "background"
CONTEXT = "context"
# What a scene of the embedded world can be grouped by.
EMBEDDED = (CONTEXT, BACKGROUND)
COLUMNS = ("key", "group")
ALIGNED = "aligned"
_TRUTH = {"yes": True, "no": False, "true": True, "false": False, "1": True, "0": False}


@dataclass(frozen=True)
class Attribute:
    """The attribute of a sample.

    Attributes:
        name: What it is.
        is_aligned: Whether it goes with the class as it does in training; None if nobody says.
    """

    name: str
    is_aligned: bool | None = None


@dataclass(frozen=True)
class GroupSettings:
    """How the samples of an evaluation set are grouped.

    Attributes:
        by: ``context`` or ``background`` of the embedded world, else a CSV file.
        split: Of the embedded world: the split.
        seed: Of the embedded world: the seed of the scenes.
        context_bias: Of the embedded world: the context bias of the scenes.
    """

    by: str
    split: str | None = None
    seed: int | None = None
    context_bias: float | None = None


def attributes_of(settings: GroupSettings, records: Iterable[ShardRecord]) -> dict[str, Attribute]:
    """Return the attribute of the samples that have one, by key.

    Corrupted samples have that of the image they were made from.

    Args:
        settings: How samples are grouped.
        records: The records of the evaluation set's manifest.

    Raises:
        CapsynthError: If no sample has an attribute, or a file says for a class and an attribute
            both that they are aligned and that they are not.
    """
    by_source: Mapping[str, Attribute] | None = None
    if settings.split is None:
        by_source = read_groups(Path(settings.by))
    found: dict[str, Attribute] = {}
    seen: dict[tuple[str, str], bool | None] = {}
    known = []
    for record in records:
        source = record.source_key or record.key
        known.append(source)
        attribute = (
            _of_scene(settings, record.class_id, source)
            if by_source is None
            else by_source.get(source)
        )
        if attribute is None:
            continue
        pair = (record.class_id, attribute.name)
        if seen.setdefault(pair, attribute.is_aligned) != attribute.is_aligned:
            raise CapsynthError(
                f"groups {settings.by}: {attribute.name!r} of class {record.class_id!r} is aligned "
                "in one row and not in another; say the same in all rows of a class and group"
            )
        found[record.key] = attribute
    if not found:
        raise CapsynthError(
            f"groups {settings.by}: none of its keys is one of the evaluation set, whose keys are "
            f"as {', '.join(map(repr, known[:2]))}: {{class_id}}_{{name of the file}}; write those"
        )
    return found


def _of_scene(settings: GroupSettings, class_id: str, key: str) -> Attribute | None:
    """Return what the renderer put behind a scene; None for an image that it did not draw."""
    # Slow to import, and each start of Snakemake imports this module.
    from capsynth.datasets.openmoji.splits import is_typical, plan_real_scene

    index = key.removeprefix(f"{class_id}_")
    if not index.isdecimal() or None in (settings.split, settings.seed, settings.context_bias):
        return None
    assert settings.split is not None
    assert settings.seed is not None
    assert settings.context_bias is not None
    scene = plan_real_scene(
        settings.split, settings.seed, class_id, int(index), settings.context_bias
    )
    typical = is_typical(settings.split, class_id, scene.background)
    if settings.by == BACKGROUND:
        return Attribute(scene.background, typical)
    return Attribute("typical" if typical else "other", typical)


def read_groups(path: Path) -> dict[str, Attribute]:
    """Read the attributes of samples.

    Args:
        path: CSV with the columns ``key`` and ``group``, one row a sample, and perhaps ``aligned``
            (yes or no). The key is that of the packed set, ``{class_id}_{name of the file without
            extension}``; of images stored corrupted that of the clean image.

    Raises:
        CapsynthError: If the file cannot be read, has no row, a key twice, or says of a row neither
            yes nor no.
    """
    try:
        rows = csv_rows(path, read_text(path), COLUMNS, unique=("key",))
        if not rows:
            raise CapsynthError(f"{path}: has no rows")
        found = {}
        for line, row in rows:
            told = row.get(ALIGNED, "").lower()
            if told and told not in _TRUTH:
                raise CapsynthError(f"{path}:{line}: aligned is {told!r}; write yes or no")
            found[row["key"]] = Attribute(row["group"], _TRUTH.get(told))
        return found
    except CapsynthError as error:
        form = "write CSV with the columns key,group and, if known, aligned"
        raise CapsynthError(f"groups {error}; {form}") from None


def check_attribute(name: str) -> None:
    """Raise CapsynthError if a scene of the embedded world has no such attribute."""
    check_name("groups", name, EMBEDDED)

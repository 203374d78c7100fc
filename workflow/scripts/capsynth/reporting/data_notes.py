"""What a reader of scores has to know of the images behind them, found in the manifests."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from capsynth.shards import read_manifest, shard_name, usable
from capsynth.shares import Share, take_share

# Names that a note gives.
SHOWN = 5


@dataclass(frozen=True)
class Images:
    """The shards that training sets are made of.

    Attributes:
        class_ids: The classes.
        parts_per_class: Shards of each class in a folder.
        training_sets: By name, folders of shards and the fraction that is taken of each.
        real: The folder of the real images that are trained on or captioned, None if none are.
    """

    class_ids: tuple[str, ...]
    parts_per_class: int
    training_sets: Mapping[str, Mapping[Path, float | Share]]
    real: Path | None


def data_notes(images: Images, eval_sets: Mapping[str, Path]) -> list[str]:
    """Return sentences on training sets that lack a class, and evaluation sets with known images.

    Args:
        images: What training sets are made of.
        eval_sets: Manifests of evaluation sets by name.
    """
    digests = {name: Counter(_digests(path)) for name, path in eval_sets.items()}
    held: dict[str, set[str]] = defaultdict(set)
    shared: dict[str, set[str]] = defaultdict(set)
    folders = {folder for mix in images.training_sets.values() for folder in mix}
    folders |= set() if images.real is None else {images.real}
    for folder in sorted(folders):
        for class_id in images.class_ids:
            for part in range(images.parts_per_class):
                manifest = folder / f"{shard_name(class_id, part)}.jsonl"
                records = usable(read_manifest(manifest))
                for name, mix in images.training_sets.items():
                    if folder in mix and take_share(records, mix[folder]):
                        held[name].add(class_id)
                if folder == images.real:
                    for name, known in digests.items():
                        shared[name] |= {str(r.sha256) for r in records if r.sha256 in known}
    return [*_lacking(images, held), *_overlapping(digests, shared)]


def _digests(manifest: Path) -> Iterator[str]:
    return (str(record.sha256) for record in usable(read_manifest(manifest)))


def _lacking(images: Images, held: Mapping[str, set[str]]) -> Iterator[str]:
    for name in images.training_sets:
        lacking = [class_id for class_id in images.class_ids if class_id not in held.get(name, ())]
        if lacking:
            yield (
                f"Training set {name} has no image of {_listed(lacking)}: its classifiers never "
                "saw what is counted there."
            )


def _overlapping(
    digests: Mapping[str, Counter[str]], shared: Mapping[str, set[str]]
) -> Iterator[str]:
    for name, known in digests.items():
        count = sum(known[digest] for digest in shared.get(name, ()))
        if count:
            yield (
                f"Of the {known.total():,} images of {name}, {count:,} are real images of the "
                "data set too, byte for byte: accuracy on them says nothing of new images."
            )


def _listed(class_ids: Sequence[str]) -> str:
    more = f" and {len(class_ids) - SHOWN} more" if len(class_ids) > SHOWN else ""
    return f"{'class' if len(class_ids) == 1 else 'classes'} {', '.join(class_ids[:SHOWN])}{more}"

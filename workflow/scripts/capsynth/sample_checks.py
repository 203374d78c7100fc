"""What the schema cannot check of draws of shares: ``sample_seed`` and ``sample_replicates``."""

from collections.abc import Iterator, Mapping
from typing import Any

from capsynth.config_entries import entries_of, list_of, section_of


def shares_of(mix: Mapping[str, Any]) -> dict[str, Any]:
    """Return the share of each variant of a training set, which may be written as a list."""
    names = (str(name) for name in list_of(mix, "variants"))
    return section_of(mix, "variants") or dict.fromkeys(names, 1.0)


def _is_drawn(share: Any) -> bool:
    """Return whether a share leaves anything to be drawn."""
    return isinstance(share, int | float) and 0 < share < 1


def check_sample_seeds(config: Any) -> Iterator[str]:
    """Yield training sets that would be the same with any sample seed."""
    for name, mix in entries_of(config, "training_sets"):
        shares = [mix.get("real", 0), *shares_of(mix).values()]
        if mix.get("sample_seed", 0) != 0 and not any(map(_is_drawn, shares)):
            yield (
                f"training_sets.{name}.sample_seed: the set takes all images, so that another seed "
                "draws no others; give real, or a variant, a share below 1, or remove sample_seed. "
                "Other real images of a source are drawn by dataset.sample_seed"
            )


def check_sample_replicates(config: Any) -> Iterator[str]:
    """Yield groups whose training sets are no draws of one share of the real images."""
    sets = dict(entries_of(config, "training_sets"))
    for row, group in enumerate(list_of(section_of(config, "report"), "sample_replicates")):
        names = [n for n in group if isinstance(n, str)] if isinstance(group, list) else []
        names = [n for n in names if n in sets]
        if names:
            where = f"report.sample_replicates[{row}]"
            yield from _check_group(where, {name: sets[name] for name in names})


def _check_group(where: str, group: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    (first, mix), *others = group.items()
    real, shares = mix.get("real", 0), shares_of(mix)
    seeds = {mix.get("sample_seed", 0): first}
    for name, other in others:
        if (other.get("real", 0), shares_of(other)) != (real, shares):
            yield (
                f"{where}: {name!r} and {first!r} differ in more than their sample_seed; name "
                "training sets that do not"
            )
            continue
        twin = seeds.setdefault(other.get("sample_seed", 0), name)
        if twin != name:
            yield (
                f"{where}: {name!r} and {twin!r} have the same sample_seed and are the same set; "
                "give one of them another"
            )
    if not _is_drawn(real):
        yield (
            f"{where}: {first!r} takes all real images or none, so that no sample of them is "
            "drawn; name training sets whose real is a share below 1"
        )
    else:
        for variant, share in shares.items():
            if _is_drawn(share) and share != real:
                yield (
                    f"{where}: {first!r} draws a share of {share:g} of {variant!r} and one of "
                    f"{real:g} of the real images, whose draws overlap differently; take all of "
                    "the variant, or the same share"
                )

"""Writing prompts: what the generator is asked for, by strategy."""

import string
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from capsynth.errors import CapsynthError
from capsynth.files import read_json_lines, write_json_lines
from capsynth.fingerprints import fingerprint
from capsynth.seeding import derive_seed
from capsynth.shards import OK, part_of


@dataclass(frozen=True)
class Strategy:
    """A way of writing prompts.

    Attributes:
        template: Default template; ``{class_name}`` and ``{caption}`` are filled in.
        needs_captions: Whether there is one prompt a caption, or ``images_per_class`` prompts.
    """

    template: str
    needs_captions: bool


STRATEGIES: dict[str, Strategy] = {
    "class-name": Strategy("a photo of a {class_name}", needs_captions=False),
    # The paper's prompt: the caption after the class name (arXiv 2307.08526).
    "caption": Strategy("a photo of a {class_name}, {caption}", needs_captions=True),
    "caption-only": Strategy("{caption}", needs_captions=True),
}
# An empty caption leaves nothing to add to the class name.
FALLBACK = STRATEGIES["class-name"].template


@dataclass(frozen=True)
class PromptRecord:
    """One prompt.

    Attributes:
        key: Key of the image to be drawn: ``{class_id}_{index:06d}``.
        class_id: Its class.
        class_index: Position of the class in the list of classes.
        index: Position of the image within its class.
        prompt: The text given to the generator.
        seed: Seed of the image's initial noise: the same for every variant.
        source_key: Key of the real image whose caption is used, None without captions.
        status: ``ok``, or ``fallback`` where an empty caption left the class name alone.
        fingerprint: Fingerprint of the prompt settings.
    """

    key: str
    class_id: str
    class_index: int
    index: int
    prompt: str
    seed: int
    source_key: str | None
    status: str
    fingerprint: str


@dataclass(frozen=True)
class PromptSettings:
    """How the prompts of a variant are written.

    Attributes:
        dataset: Name of the data set, part of the seed.
        strategy: Name in ``STRATEGIES``.
        template: Template, None for the strategy's own.
        images_per_class: Images a class, for strategies without captions.
        seed: Generation seed.
    """

    dataset: str
    strategy: str
    template: str | None
    images_per_class: int | None
    seed: int


def noise_seed(dataset: str, class_id: str, index: int, generation_seed: int) -> int:
    """Return the seed of the initial noise of an image, whatever variant or shard draws it."""
    return derive_seed("noise", dataset, class_id, index, generation_seed)


def fill(template: str, class_name: str, caption: str) -> str:
    """Fill a template; text in braces within a caption stays as it is.

    Raises:
        CapsynthError: If the template has a placeholder that is not known.
    """
    values = {"class_name": class_name, "caption": caption}
    parts = []
    for literal, field, _, _ in string.Formatter().parse(template):
        parts.append(literal)
        if field is not None:
            if field not in values:
                raise CapsynthError(
                    f"template {template!r}: {{{field}}} is not known; "
                    f"known: {', '.join('{' + name + '}' for name in values)}"
                )
            parts.append(values[field])
    return "".join(parts)


def write_prompts(
    settings: PromptSettings,
    class_id: str,
    class_name: str,
    class_index: int,
    part: int,
    parts_per_class: int,
    captions: Path | None,
    output: Path,
) -> None:
    """Write the prompts of one class shard as JSON Lines of ``PromptRecord``.

    Raises:
        CapsynthError: If the strategy is unknown or lacks its captions.
    """
    strategy = STRATEGIES.get(settings.strategy)
    if strategy is None:
        raise CapsynthError(
            f"strategy {settings.strategy!r} is not known; known: {', '.join(STRATEGIES)}"
        )
    template = settings.template or strategy.template
    mark = fingerprint(asdict(settings), template, class_name)
    make: Callable[..., PromptRecord] = _maker(settings, class_id, class_index, mark)
    if strategy.needs_captions:
        if captions is None:
            raise CapsynthError(f"strategy {settings.strategy!r} needs captions; give --captions")
        rows = _from_captions(read_json_lines(captions), template, class_name, make)
    else:
        if settings.images_per_class is None:
            raise CapsynthError(f"strategy {settings.strategy!r} needs images_per_class")
        prompt = fill(template, class_name, "")
        every = (make(i, prompt, None, OK) for i in range(settings.images_per_class))
        rows = [row for row in every if part_of(row.key, parts_per_class) == part]
    write_json_lines(output, map(asdict, rows))


def _maker(
    settings: PromptSettings, class_id: str, class_index: int, mark: str
) -> Callable[..., PromptRecord]:
    def make(index: int, prompt: str, source_key: str | None, status: str) -> PromptRecord:
        return PromptRecord(
            key=f"{class_id}_{index:06d}",
            class_id=class_id,
            class_index=class_index,
            index=index,
            prompt=prompt,
            seed=noise_seed(settings.dataset, class_id, index, settings.seed),
            source_key=source_key,
            status=status,
            fingerprint=mark,
        )

    return make


def _from_captions(
    rows: Sequence[dict[str, Any]],
    template: str,
    class_name: str,
    make: Callable[..., PromptRecord],
) -> list[PromptRecord]:
    return [
        make(
            row["index"],
            fill(template if row["caption"] else FALLBACK, class_name, row["caption"]),
            row["key"],
            OK if row["caption"] else "fallback",
        )
        for row in rows
    ]

"""Writing prompts: what the generator is asked for, by strategy.

A strategy is a template and what fills it in. Where the template has ``{caption}`` there are
prompts for each caption of a real image, else ``images_per_class`` of them, or as many as the class
has real images. Key and noise of a
prompt follow from its place alone, not from how many others there are: a smaller set is part of a
larger one, and prompts of the same place in two variants start from the same noise.
"""

import logging
import math
import string
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from capsynth.captions import by_image
from capsynth.classes import ClassInfo
from capsynth.datasets.imagenet import clip_templates
from capsynth.errors import CapsynthError
from capsynth.fallbacks import check_fallbacks, fallback_of, told
from capsynth.files import read_json_lines, write_json_lines
from capsynth.fingerprints import fingerprint
from capsynth.names import check_name
from capsynth.seeding import SEED_BITS, derive_seed
from capsynth.shards import OK, part_of, read_manifest, usable
from capsynth.wording import has_class_word, has_subject, subject_of

log = logging.getLogger(__name__)

FALLBACK = "fallback"
DROPPED = "dropped"

# What is done with a caption that has no word of the class name.
CLASSLESS_POLICIES = ("keep", "class-name", "drop")
# What a template may take from the class, beside its name.
CLASS_WORDS = ("definition", "hypernym")


@dataclass(frozen=True)
class Strategy:
    """A way of writing prompts.

    Attributes:
        template: Its own template, which a variant may replace by one or several; None where CLIP's
            templates are taken.
    """

    template: str | None

    @property
    def needs_captions(self) -> bool:
        """Whether there is a prompt for each caption, or a number of prompts a class."""
        return self.template is not None and bool(
            placeholders(self.template) & {"caption", "subject"}
        )


STRATEGIES: dict[str, Strategy] = {
    "class-name": Strategy("a photo of a {class_name}"),
    # The paper's idea, the caption after the class name, with the article that its prompt lacks.
    "caption": Strategy("a photo of a {class_name}, {caption}"),
    # Its two prompts to the letter: arXiv 2307.08526, released code.
    "class-name-paper": Strategy("a photo of {class_name}"),
    "caption-paper": Strategy("a photo of {class_name}, {caption}"),
    "caption-only": Strategy("{caption}"),
    # Hypernyms, definitions and backgrounds: Sariyildiz et al., CVPR 2023 (arXiv 2212.08420).
    "class-name-hypernym": Strategy("a photo of a {class_name}, {hypernym}"),
    "class-name-definition": Strategy("a photo of a {class_name}, {definition}"),
    "class-name-background": Strategy("a photo of a {class_name} {background}"),
    # Radford et al., ICML 2021 (arXiv 2103.00020).
    "clip-templates": Strategy(None),
    # Whether other backgrounds take the context bias off captions.
    "caption-background": Strategy("a photo of a {class_name}, {caption}, {background}"),
    "subject-background": Strategy("a photo of a {class_name}, {subject} {background}"),
}


@dataclass(frozen=True)
class PromptRecord:
    """One prompt.

    Attributes:
        key: Key of the image to be drawn: ``{class_id}_{index:06d}``, and ``-{k}`` after it for the
            further images of one real image.
        class_id: Its class.
        class_index: Position of the class in the list of classes.
        index: Position of the image within its class; images of one real image share it.
        prompt: The text given to the generator; None where nothing is to be drawn.
        seed: Seed of the image's initial noise: the same for every variant.
        source_key: Key of the real image whose caption is used, None without captions.
        status: ``ok``; ``fallback`` where the class name stands alone, because the caption is empty
            or has no word of it; ``dropped`` where such a caption is not drawn.
        has_class_word: Whether the caption has a word of the class name; None without a caption.
        fingerprint: Fingerprint of the prompt settings.
        fell_back: Why the prompt lacks what its strategy is named after, one of
            ``fallbacks.REASONS``; None where it does not, and without captions.
        caption_status: Status of the caption, one of ``captions.STATUSES``; None without captions,
            or where their file does not say.
    """

    key: str
    class_id: str
    class_index: int
    index: int
    prompt: str | None
    seed: int
    source_key: str | None
    status: str
    has_class_word: bool | None
    fingerprint: str
    fell_back: str | None = None
    caption_status: str | None = None


@dataclass(frozen=True)
class PromptSettings:
    """How the prompts of a variant are written.

    Attributes:
        dataset: Name of the data set, part of the seed.
        strategy: Name in ``STRATEGIES``.
        templates: Templates; image ``index`` takes the one at ``index`` modulo their number.
        backgrounds: What ``{background}`` stands for, in turn; empty if no template has it.
        images_per_class: Images a class, for strategies without captions; None for as many as the
            class has real images.
        images_per_caption: Images a caption, for strategies with captions. Of a fraction, as many
            captions get one more.
        on_classless: Name in ``CLASSLESS_POLICIES``, for strategies with captions.
        seed: Generation seed.
    """

    dataset: str
    strategy: str
    templates: tuple[str, ...]
    backgrounds: tuple[str, ...]
    images_per_class: int | None
    images_per_caption: float | None
    on_classless: str | None
    seed: int


def templates_of(
    strategy: str, template: str | None, templates: Sequence[str] | None
) -> tuple[str, ...]:
    """Return the templates of a variant: its own, one or several, or else those of its strategy.

    Raises:
        CapsynthError: If the strategy is unknown.
    """
    if templates:
        return tuple(templates)
    template = template or STRATEGIES[check_name("strategy", strategy, STRATEGIES)].template
    return (template,) if template else clip_templates()


def placeholders(*templates: str) -> frozenset[str]:
    """Return the names that templates fill in.

    Raises:
        CapsynthError: If a brace of a template is unbalanced.
    """
    names: set[str] = set()
    for template in templates:
        try:
            parts = list(string.Formatter().parse(template))
        except ValueError:
            raise CapsynthError(
                f"template {template!r} has an unbalanced brace; write {{{{ or }}}} for a brace"
            ) from None
        names.update(name for _, name, _, _ in parts if name is not None)
    return frozenset(names)


def fill(template: str, values: Mapping[str, str]) -> str:
    """Fill a template; text in braces within a value stays as it is.

    Args:
        template: Text with placeholders in braces.
        values: Text by placeholder.

    Raises:
        CapsynthError: If the template has a placeholder that is not known.
    """
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


def without_caption(template: str) -> str:
    """Return what is left of a template where the caption cannot be used.

    That is the template without the part, between commas, that holds the caption or its subject:
    ``a photo of {class_name}`` of the paper's prompt. Where the class name would be lost with it,
    it is the template of the strategy class-name.
    """
    spoken = {"caption", "subject"}
    parts = [part for part in template.split(",") if not spoken & placeholders(part)]
    rest = ",".join(parts).strip()
    alone = STRATEGIES["class-name"].template or ""
    return rest if "class_name" in placeholders(rest) else alone


def noise_seed(dataset: str, class_id: str, index: int, generation_seed: int, k: int = 0) -> int:
    """Return the seed of the initial noise of an image, whatever variant or shard draws it.

    Args:
        dataset: Name of the data set.
        class_id: Class of the image.
        index: Its position within the class.
        generation_seed: Seed of the variant.
        k: Which of several images of one real image; 0 for the first.
    """
    further = (k,) if k else ()
    return derive_seed("noise", dataset, class_id, index, generation_seed, *further)


def times_drawn(images_per_caption: float, dataset: str, source_key: str, number: int) -> int:
    """Return how many images one caption gets: the whole part, or one more.

    Of captions at large, the fraction of ``images_per_caption`` gets one more. Which ones is fixed
    by a hash: with a larger number each caption gets as many images or more.
    """
    whole = math.floor(images_per_caption)
    place = derive_seed("images per caption", dataset, source_key, number) / 2**SEED_BITS
    return whole + (place < images_per_caption - whole)


def write_prompts(
    settings: PromptSettings,
    about: ClassInfo,
    class_index: int,
    part: int,
    parts_per_class: int,
    captions: Path | None,
    output: Path,
    max_fallback: float = 1.0,
    variant: str = "?",
    real: Sequence[Path] = (),
) -> None:
    """Write the prompts of one class shard as JSON Lines of ``PromptRecord``.

    Args:
        settings: How they are written.
        about: The class, with what the templates take from it.
        class_index: Position of the class in the list of classes.
        part: Part of the class.
        parts_per_class: Number of parts.
        captions: JSON Lines with ``key, index, number, caption`` of the part's real images.
        output: The prompts, images of one real image together.
        max_fallback: Share of the captions that may fall back: see ``fallbacks.check_fallbacks``.
        variant: Name of the variant, for messages.
        real: Manifests of all real images of the class, which are counted where the settings do not
            say how many prompts it gets; those set aside do not count.

    Raises:
        CapsynthError: If the strategy is unknown, or lacks its captions or anything else that its
            templates take; or if more captions fell back than may.
    """
    strategy = STRATEGIES[check_name("strategy", settings.strategy, STRATEGIES)]
    _check_settings(settings, about)
    maker = _Maker(settings, about, class_index)
    if strategy.needs_captions:
        if captions is None:
            raise CapsynthError(f"strategy {settings.strategy!r} needs captions; give --captions")
        made = _Counted(maker, variant, captions, max_fallback)
        rows = list(made.prompts(read_json_lines(captions)))
    else:
        every = (maker.prompt(index) for index in range(_number(settings, about, real)))
        rows = [row for row in every if part_of(row.key, parts_per_class) == part]
    write_json_lines(output, map(asdict, rows))


def _number(settings: PromptSettings, about: ClassInfo, real: Sequence[Path]) -> int:
    """Return how many prompts a class gets that has no captions."""
    if settings.images_per_class is not None:
        return settings.images_per_class
    if not real:
        raise CapsynthError(
            f"strategy {settings.strategy!r} needs images_per_class, or --real to count images of"
        )
    number = sum(len(usable(read_manifest(path))) for path in real)
    if not number:
        raise CapsynthError(f"class {about.class_id!r} has no real images; give images_per_class")
    return number


def _check_settings(settings: PromptSettings, about: ClassInfo) -> None:
    used = placeholders(*settings.templates)
    captions = STRATEGIES[settings.strategy].needs_captions
    if not settings.templates:
        raise CapsynthError(f"strategy {settings.strategy!r} needs templates; give at least one")
    if captions:
        if not settings.images_per_caption:
            raise CapsynthError(
                f"strategy {settings.strategy!r} needs images_per_caption; give a number above 0"
            )
        check_name("value of on_classless", str(settings.on_classless), CLASSLESS_POLICIES)
    if "background" in used and not settings.backgrounds:
        raise CapsynthError(f"strategy {settings.strategy!r} needs backgrounds; give at least one")
    for field in CLASS_WORDS:
        if field in used and getattr(about, field) is None:
            raise CapsynthError(
                f"class {about.class_id!r} has no {field}; give it in dataset.classes"
            )


class _Maker:
    """Makes the prompts of one class."""

    def __init__(self, settings: PromptSettings, about: ClassInfo, class_index: int) -> None:
        self.settings = settings
        self.about = about
        self._class_index = class_index
        self._mark = fingerprint(asdict(settings), asdict(about))

    def prompt(
        self,
        index: int,
        k: int = 0,
        caption: str | None = None,
        source_key: str | None = None,
        caption_status: str | None = None,
    ) -> PromptRecord:
        """Return the prompt of image ``k`` of real image ``index``.

        Templates take turns over the images of a class, and backgrounds once all templates had
        theirs. The further images of a real image go on from there.
        """
        settings, about = self.settings, self.about
        turn = index + k
        template = settings.templates[turn % len(settings.templates)]
        values = {"class_name": about.class_name}
        values |= {f: w for f in CLASS_WORDS if (w := getattr(about, f)) is not None}
        if settings.backgrounds:
            later = turn // len(settings.templates)
            values["background"] = settings.backgrounds[later % len(settings.backgrounds)]
        named = has_class_word(caption, about.class_name) if caption else None
        gives_way = named is False and settings.on_classless == "class-name"
        lacks_subject = (
            bool(caption) and "subject" in placeholders(template) and not has_subject(caption or "")
        )
        fell_back = fallback_of(caption == "", gives_way, caption_status, lacks_subject)
        status = OK
        if caption == "" or gives_way:
            template, status = without_caption(template), FALLBACK
        elif named is False and settings.on_classless == "drop":
            status = DROPPED
        elif caption:
            values |= {"caption": caption, "subject": subject_of(caption)}
        ending = f"-{k}" if k else ""
        return PromptRecord(
            key=f"{about.class_id}_{index:06d}{ending}",
            class_id=about.class_id,
            class_index=self._class_index,
            index=index,
            prompt=None if status == DROPPED else fill(template, values),
            seed=noise_seed(settings.dataset, about.class_id, index, settings.seed, k),
            source_key=source_key,
            status=status,
            has_class_word=named,
            fingerprint=self._mark,
            fell_back=fell_back,
            caption_status=caption_status,
        )


class _Counted:
    """Makes the prompts of the captions of one class shard, and counts what became of them."""

    def __init__(self, maker: _Maker, variant: str, path: Path, max_fallback: float) -> None:
        self._maker = maker
        self._variant = variant
        self._path = path
        self._max_fallback = max_fallback
        self._counts: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()

    def prompts(self, rows: Iterable[Mapping[str, Any]]) -> Iterator[PromptRecord]:
        """Yield the prompts of captions; the images of one real image stand together.

        Image ``k`` of a real image with n captions has caption k modulo n: each caption once, then
        each a second time. A number of times that is not whole leaves gaps in k.

        Raises:
            CapsynthError: At the end, if more captions fell back than may.
        """
        for source_key, captions in by_image(rows, self._path):
            several = max(captions) + 1
            prompts: dict[int, PromptRecord] = {}
            for number, row in captions.items():
                prompts |= self._of_caption(source_key, number, several, row)
            yield from (prompts[k] for k in sorted(prompts))
        counts, reasons = self._counts, self._reasons
        used = counts["captions"] - counts["unused"]
        log.info(
            "%s: %d captions, %d of them empty, %d without a word of the class name %r, %d not "
            "drawn from; %d prompts, %d of them dropped; fell back: %s",
            self._path.name,
            *(counts[name] for name in ("captions", "empty", "classless")),
            self._maker.about.class_name,
            *(counts[name] for name in ("unused", "prompts", "dropped")),
            told(reasons),
        )
        check_fallbacks(reasons, used, self._max_fallback, self._variant, self._path.stem)

    def _of_caption(
        self, source_key: str, number: int, several: int, row: Mapping[str, Any]
    ) -> dict[int, PromptRecord]:
        """Return the prompts of one caption by their k."""
        settings, counts = self._maker.settings, self._counts
        caption = row["caption"]
        times = times_drawn(settings.images_per_caption or 0, settings.dataset, source_key, number)
        made = {
            k: self._maker.prompt(row["index"], k, caption, source_key, row.get("status"))
            for k in range(number, number + times * several, several)
        }
        named = bool(caption) and has_class_word(caption, self._maker.about.class_name)
        counts["captions"] += 1
        counts["empty"] += not caption
        counts["classless"] += bool(caption) and not named
        counts["unused"] += not times
        counts["prompts"] += len(made)
        counts["dropped"] += sum(prompt.status == DROPPED for prompt in made.values())
        # Templates of one variant ask for the same of a caption, so all its prompts fell back.
        self._reasons.update({p.fell_back for p in made.values() if p.fell_back is not None})
        return made

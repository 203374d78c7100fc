"""Drawing images from prompts: the stage between prompts and synthetic shards."""

import logging
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from capsynth.errors import CapsynthError
from capsynth.files import read_json_lines, require_room
from capsynth.fingerprints import file_digest, fingerprint
from capsynth.generators import OFF, DiffusersGenerator, GeneratorSettings, is_blank, lora_digests
from capsynth.models import without_places
from capsynth.progress import Progress
from capsynth.resuming import PartialWork, batches
from capsynth.seeding import derive_seed
from capsynth.shards import (
    OK,
    REJECTED,
    Sample,
    ShardReader,
    ShardRecord,
    encode_image,
    read_manifest,
    write_shard,
)

log = logging.getLogger(__name__)

# Of photographs, about.
BYTES_PER_PIXEL = {"png": 2.0, "jpg": 0.5}

# Reasons that a message about too many of them gives; the manifest has all.
FEW = 3

# A prompt record, as it was read.
Row = dict[str, Any]


@dataclass(frozen=True)
class Drawn:
    """What became of one prompt.

    Attributes:
        image: The image that is kept, None if none is.
        seed: Seed of its noise; without an image that of the first attempt.
        attempts: Images drawn for the prompt, up to the one that is kept.
        flagged: How many of them the safety checker flagged, None if none was checked.
        blank: How many of them were blank: of one colour, or not finite.
    """

    image: Image.Image | None
    seed: int
    attempts: int
    flagged: int | None
    blank: int

    @property
    def reason(self) -> str | None:
        """Why there is no image."""
        if self.image is not None:
            return None
        causes = [f"{self.blank} blank"] if self.blank else []
        causes += [f"{self.flagged} flagged by the safety checker"] if self.flagged else []
        return f"none of {self.attempts} drawn is usable: {', '.join(causes)}"


class RejectionBound:
    """How many images of a shard may be set aside, and how many were.

    A model that draws nothing but blank images does so of every prompt: it is stopped at the first
    batch. What is set aside for other reasons, or now and then, is counted.
    """

    def __init__(self, name: str, settings: GeneratorSettings, count: int, share: float) -> None:
        """Begin to count.

        Args:
            name: Name of the shard.
            settings: The generator.
            count: Images that are to be drawn.
            share: Share of them that may be set aside.
        """
        self._name, self._settings = name, settings
        self._allowed = math.floor(round(share * count, 6))
        self._count = count
        self._drawn = self._usable = 0
        self._reasons: Counter[str] = Counter()

    def add(self, outcomes: Sequence[tuple[str | None, int]]) -> None:
        """Count a batch: of each image why it was set aside, None if it was not, and its blanks.

        Raises:
            CapsynthError: If all images of the batch are blank, or more than allowed were set
                aside by now.
        """
        rejected = [(reason, blank) for reason, blank in outcomes if reason is not None]
        self._drawn += len(outcomes)
        self._usable += len(outcomes) - len(rejected)
        self._reasons.update(reason for reason, _ in rejected)
        all_blank = len(rejected) == len(outcomes) > 0 and all(blank for _, blank in rejected)
        # One image alone may be unlucky where others were not.
        if all_blank and (len(outcomes) > 1 or not self._usable):
            raise CapsynthError(
                f"{self._name}: all {len(outcomes)} images of a batch are blank, of one colour or "
                f"not finite, however often they are redrawn; {self._usable} of {self._drawn} "
                f"images can be used so far. {self._remedy()}"
            )
        if self._drawn - self._usable > self._allowed:
            few = "; ".join(f"{n} x {text}" for text, n in self._reasons.most_common(FEW))
            raise CapsynthError(
                f"{self._name}: {self._drawn - self._usable} of the {self._drawn} images drawn so "
                f"far cannot be used, and max_rejected of the generator allows {self._allowed} of "
                f"{self._count}: {few}. {self._remedy()}; or raise max_rejected, so that the "
                "class has fewer images"
            )

    def _remedy(self) -> str:
        if self._settings.dtype != "float32":
            return (
                f"In {self._settings.dtype} numbers may overflow, most of all in the decoder: set "
                "dtype: bfloat16 or float32"
            )
        return (
            "Look at the weights, which may hold NaN, and at scheduler, num_inference_steps and "
            "guidance_scale"
        )


def attempt_seed(seed: int, attempt: int) -> int:
    """Return the seed of an image's noise in its ``attempt``-th drawing, the first being 0."""
    return derive_seed("redraw", seed, attempt) if attempt else seed


def draw_batch(
    generator: DiffusersGenerator, prompts: Sequence[str], seeds: Sequence[int]
) -> list[Drawn]:
    """Draw one image a prompt; redraw those that are blank or that the policy refuses.

    What is drawn depends on the batch alone, so a batch that is begun again ends the same. Places
    that a round of redrawing leaves empty in the batch are taken by the next attempts of the same
    images: the first good one is kept, as if they had been drawn one after the other.
    """
    settings = generator.settings
    policy, most = settings.safety_checker, 1 + settings.safety_retries
    ended: dict[int, Drawn] = {}
    blank, flagged = [0] * len(prompts), [0] * len(prompts)

    def end(i: int, attempt: int, image: Image.Image | None) -> None:
        seed = seeds[i] if image is None else attempt_seed(seeds[i], attempt)
        flags = None if policy == OFF else flagged[i]
        ended[i] = Drawn(image, seed, attempt + 1, flags, blank[i])

    begun = 0
    while begun < most and len(ended) < len(prompts):
        waiting = [i for i in range(len(prompts)) if i not in ended]
        rounds = max(1, settings.batch_size // len(waiting)) if begun else 1
        attempts = range(begun, min(most, begun + rounds))
        tries = [(i, attempt) for attempt in attempts for i in waiting]
        images = generator.draw(
            [prompts[i] for i, _ in tries], [attempt_seed(seeds[i], a) for i, a in tries]
        )
        flags = [False] * len(tries) if policy == OFF else generator.flagged(images)
        for (i, attempt), image, flag in zip(tries, images, flags, strict=True):
            if i in ended:
                continue
            if is_blank(image):
                blank[i] += 1
            elif flag:
                flagged[i] += 1
                if policy == "flag":
                    end(i, attempt, image)
                elif policy == "drop":
                    end(i, attempt, None)
            else:
                end(i, attempt, image)
        begun = attempts.stop
    for i in range(len(prompts)):
        if i not in ended:
            end(i, most - 1, None)
    return [ended[i] for i in range(len(prompts))]


def generate_shard(
    settings: GeneratorSettings,
    prompts: Path,
    extension: str,
    tar: Path,
    manifest: Path,
    model_mark: str,
    code_mark: str | None = None,
    max_rejected: float = 1.0,
) -> None:
    """Draw the images of one prompt file, resuming where an earlier start ended.

    Args:
        settings: The generator.
        prompts: JSON Lines of ``prompting.PromptRecord``; its order fixes the batches. Rows without
            a prompt are not drawn: they are rejected samples.
        extension: ``png`` or ``jpg``.
        tar: The synthetic shard.
        manifest: Its manifest: one row a prompt, those without an image included.
        model_mark: Name of the model's weights, part of the fingerprint.
        code_mark: Name of the code; what other code has begun is not resumed.
        max_rejected: Share of the images that may be set aside.

    Raises:
        CapsynthError: If the model cannot do what the settings ask, a prompt is too long for it
            and ``overlong_prompts`` is ``error``, or too few images can be used.
    """
    rows = read_json_lines(prompts)
    prompt_mark = sorted({row["fingerprint"] for row in rows})
    mark = fingerprint(
        without_places(settings), extension, model_mark, prompt_mark, lora_digests(settings)
    )
    wanted = [row for row in rows if row["prompt"] is not None]
    work = PartialWork([tar, manifest], fingerprint(mark, file_digest(prompts), code_mark))
    if not work.is_finished():
        pixels = settings.height * settings.width * len(wanted)  # in batches, and in the shard
        require_room(tar, 2 * pixels * BYTES_PER_PIXEL[extension])
    generator: DiffusersGenerator | None = None
    over: dict[str, int] = {}
    bound = RejectionBound(tar.stem, settings, len(wanted), max_rejected)
    for number in work.numbers(".jsonl"):
        bound.add(_outcomes(read_manifest(work.path(number, ".jsonl"))))

    def draw(batch: Sequence[Row], nothing: None) -> list[Drawn]:
        nonlocal generator, over
        # The model is loaded only if something is left for it to do.
        if generator is None:
            generator = DiffusersGenerator(settings)
            over = _tokens_over(generator, wanted)
        drawn = draw_batch(
            generator, [row["prompt"] for row in batch], [row["seed"] for row in batch]
        )
        bound.add([(one.reason, one.blank) for one in drawn])
        return drawn

    def write(number: int, batch: Sequence[Row], drawn: Sequence[Drawn]) -> None:
        # The manifest of a batch is written after its tar.
        write_shard(*_part(work, number), _samples(batch, drawn, over, extension, mark))

    with Progress(f"generate {tar.stem}", len(wanted), "image") as progress:
        work.make_all(
            wanted,
            settings.batch_size,
            ".jsonl",
            progress,
            prepare=_nothing_to_read,
            make=draw,
            write=write,
        )
    parts = [_part(work, number) for number, _ in batches(wanted, settings.batch_size)]

    def join(tar: Path, manifest: Path) -> None:
        work.require_intact()
        write_shard(tar, manifest, _joined(rows, parts, mark))

    work.publish(join)
    _log_totals(tar.stem, records := read_manifest(manifest))
    # Of several copies each has seen its own batches only.
    whole = RejectionBound(tar.stem, settings, len(wanted), max_rejected)
    whole.add(_outcomes(records))


def _nothing_to_read(batch: Sequence[Row]) -> None:
    """Prepare a batch: noise and embeddings are made with the images."""


def _outcomes(records: Sequence[ShardRecord]) -> list[tuple[str | None, int]]:
    """Return what ``RejectionBound`` counts, of the images that were drawn."""
    return [(r.reason, r.blank or 0) for r in records if r.attempts is not None]


def _part(work: PartialWork, number: int) -> tuple[Path, Path]:
    """Return the tar and the manifest of a batch."""
    return work.path(number, ".tar"), work.path(number, ".jsonl")


def _tokens_over(generator: DiffusersGenerator, rows: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Return how many tokens of each prompt will be cut off, by key.

    Raises:
        CapsynthError: If there are any, and none may be.
    """
    cuts = generator.tokens_over([row["prompt"] for row in rows])
    long = [(row, cut) for row, cut in zip(rows, cuts, strict=True) if cut]
    if long and generator.settings.overlong_prompts == "error":
        row, cut = long[0]
        taken = ", ".join(f"{name} {limit}" for name, limit in generator.token_limits.items())
        raise CapsynthError(
            f"prompt of {row['key']!r} is {cut} tokens too long for {generator.family} ({taken}), "
            f"and so are {len(long) - 1} more; shorten the captions or the template, or set "
            f"overlong_prompts: truncate. It reads {row['prompt']!r}"
        )
    return {row["key"]: cut for row, cut in zip(rows, cuts, strict=True)}


def _samples(
    rows: Sequence[dict[str, Any]],
    drawn: Sequence[Drawn],
    over: Mapping[str, int],
    extension: str,
    mark: str,
) -> Iterator[Sample]:
    for row, one in zip(rows, drawn, strict=True):
        kept = one.image is not None
        record = ShardRecord(
            key=row["key"],
            class_id=row["class_id"],
            class_index=row["class_index"],
            index=row["index"],
            status=OK if kept else REJECTED,
            fingerprint=mark,
            extension=extension if kept else None,
            source_key=row["source_key"],
            prompt=row["prompt"],
            seed=one.seed,
            reason=one.reason,
            attempts=one.attempts,
            flagged=one.flagged,
            blank=one.blank,
            prompt_tokens_over=over[row["key"]],
        )
        yield Sample(record, encode_image(one.image, extension) if one.image else None)


def _joined(
    rows: Sequence[dict[str, Any]], parts: Sequence[tuple[Path, Path]], mark: str
) -> Iterator[Sample]:
    """Yield the samples of all batches, and in its place each row that was not to be drawn."""
    drawn = _drawn(parts)
    for row in rows:
        yield _not_drawn(row, mark) if row["prompt"] is None else next(drawn)


def _drawn(parts: Sequence[tuple[Path, Path]]) -> Iterator[Sample]:
    for tar, manifest in parts:
        with ShardReader(tar) as reader:
            for record in read_manifest(manifest):
                yield Sample(record, reader.read_bytes(record) if record.status == OK else None)


def _not_drawn(row: Mapping[str, Any], mark: str) -> Sample:
    names = ("key", "class_id", "class_index", "index", "source_key")
    reason = "its caption holds no word of the class name, and on_classless is drop"
    about = {name: row[name] for name in names}
    return Sample(ShardRecord(**about, status=REJECTED, fingerprint=mark, reason=reason), None)


def _log_totals(name: str, records: Sequence[ShardRecord]) -> None:
    """Log what became of the prompts of a shard; the manifest has it image by image."""
    rejected = [record for record in records if record.status != OK]
    totals = {
        "redrawn": sum((record.attempts or 1) - 1 for record in records),
        "blank": sum(record.blank or 0 for record in records),
        "flagged": sum(record.flagged or 0 for record in records),
        "rejected": len(rejected),
    }
    text = ", ".join(f"{count} {what}" for what, count in totals.items())
    kept = len(records) - len(rejected)
    log.log(
        logging.WARNING if rejected else logging.INFO,
        "%s: %d prompts, %d images; %s", name, len(records), kept, text,
    )  # fmt: skip
    cut = [record.prompt_tokens_over for record in records if record.prompt_tokens_over]
    if cut:
        log.warning(
            "%s: %d of %d prompts were cut, by %d tokens at most", name, len(cut), len(records),
            max(cut),
        )  # fmt: skip

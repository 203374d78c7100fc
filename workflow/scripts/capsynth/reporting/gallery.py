"""The gallery: real images, their captions, and what variants drew for them, side by side.

Nothing is chosen by how it looks: the page shows the first usable images of every class by index,
and the strip the first of each variant.
"""

import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from capsynth.errors import CapsynthError
from capsynth.files import read_json_lines, write_text
from capsynth.names import check_name
from capsynth.reporting.browsing import (
    Filter,
    Row,
    browsing_page,
    data_uri,
    gain_element,
    image_element,
)
from capsynth.reporting.pages import escape
from capsynth.reporting.scores import Score
from capsynth.reporting.style import INK, WIDTH_INCHES, new_figure, paper_style, save_figure
from capsynth.shards import OK, ShardReader, ShardRecord, read_manifest

# Larger images are scaled down so that the page stays small; smaller ones keep their bytes.
LONGEST_SIDE = 192
# The strip: labels at the left, cells of equal size, a gap between classes.
LABEL_INCHES = 1.1
LARGEST_CELL_INCHES = 0.7
CLASS_GAP_CELLS = 0.3


@dataclass(frozen=True)
class ShardFiles:
    """Where a shard lies."""

    tar: Path
    manifest: Path


@dataclass(frozen=True)
class GalleryGain:
    """What the classes of a gallery are sorted by: their gain in top-1 accuracy.

    Attributes:
        first: Training set whose accuracy counts.
        second: Training set whose accuracy is subtracted.
        eval_set: Evaluation set.
        recipe: Recipe.
    """

    first: str
    second: str
    eval_set: str
    recipe: str


@dataclass(frozen=True)
class Picture:
    """One image, or why there is none.

    Attributes:
        record: Its record.
        image: Its encoded bytes; None for a rejected sample.
    """

    record: ShardRecord
    image: bytes | None


Pictures = dict[tuple[str, int], Picture]  # by class and index


def read_pictures(shards: Sequence[ShardFiles], most: int, usable_only: bool = False) -> Pictures:
    """Return the first ``most`` images of every class over all shards, by class and index.

    Args:
        shards: Shards of one kind of image.
        most: Images a class.
        usable_only: Whether rejected samples are passed over instead of counted.
    """
    found: dict[str, list[tuple[ShardRecord, Path]]] = defaultdict(list)
    for shard in shards:
        for record in read_manifest(shard.manifest):
            if record.status == OK or not usable_only:
                found[record.class_id].append((record, shard.tar))
    return {
        (class_id, record.index): _read(record, tar)
        for class_id, records in found.items()
        for record, tar in _first_of_each(records)[:most]
    }


def _first_of_each(records: Sequence[tuple[ShardRecord, Path]]) -> list[tuple[ShardRecord, Path]]:
    """Return the first image of every index, in order: a real image may have several captions."""
    first: dict[int, tuple[ShardRecord, Path]] = {}
    for record, tar in records:
        first.setdefault(record.index, (record, tar))
    return [first[index] for index in sorted(first)]


def read_paired(shards: Sequence[ShardFiles], wanted: Pictures) -> Pictures:
    """Return the images whose class and index are among ``wanted``: the first of each index."""
    first: dict[tuple[str, int], tuple[ShardRecord, Path]] = {}
    for shard in shards:
        for record in read_manifest(shard.manifest):
            first.setdefault((record.class_id, record.index), (record, shard.tar))
    return {name: _read(*first[name]) for name in first if name in wanted}


def _read(record: ShardRecord, tar: Path) -> Picture:
    if record.status != OK:
        return Picture(record, None)
    with ShardReader(tar) as reader:
        return Picture(record, reader.read_bytes(record))


def read_captions(paths: Sequence[Path]) -> dict[tuple[str, str], str]:
    """Return the first caption of every real image; in brackets, why there is none.

    Returns:
        Captions by class and key of the image: keys are unique within a class.

    Raises:
        CapsynthError: If a row has no class, key, caption or status.
    """
    captions: dict[tuple[str, str], str] = {}
    for path in paths:
        for number, row in enumerate(read_json_lines(path), start=1):
            try:
                text = row["caption"] if row["status"] == OK else f"[{row['status']}]"
                captions.setdefault((row["class_id"], row["key"]), text)
            except KeyError as error:
                raise CapsynthError(
                    f"{path}:{number}: no {error} in this caption; caption the images again"
                ) from error
    return captions


_STYLE = "th.caption { width: 26%; }\n"


def _image_cell(picture: Picture | None, with_prompt: bool) -> str:
    if picture is None:
        return '<td><span class="none">not drawn</span></td>'
    record = picture.record
    prompt = f'<span class="prompt">{escape(record.prompt or "")}</span>' if with_prompt else ""
    if picture.image is None:
        reason = f"rejected: {record.reason or 'no reason given'}"
        return f'<td><span class="none">{escape(reason)}</span>{prompt}</td>'
    with Image.open(io.BytesIO(picture.image)) as image:
        longest = max(image.size)
    uri = data_uri(picture.image, record.extension or "", LONGEST_SIDE)
    return f"<td>{image_element(uri, longest, record.prompt or record.key)}{prompt}</td>"


def class_gains(scores: Sequence[Score], gain: GalleryGain) -> dict[str, float]:
    """Return the gain of every class that has one."""
    name = (f"{gain.first} - {gain.second}", gain.recipe, gain.eval_set)
    return {
        score.metric.removeprefix("top1/"): score.value
        for score in scores
        if score.seed is None
        and score.metric.startswith("top1/")
        and (score.training_set, score.recipe, score.eval_set) == name
    }


def gallery_page(
    real: Pictures,
    captions: Mapping[tuple[str, str], str],
    variants: Mapping[str, Pictures],
    columns: Sequence[str],
    gain: GalleryGain | None = None,
    gains: Mapping[str, float] | None = None,
) -> str:
    """Return the gallery as one page: a row a real image, what variants drew beside it.

    Args:
        real: Real images by class and index.
        captions: Captions by class and key of the real image.
        variants: Images of every variant by class and index.
        columns: Variants to show, in this order.
        gain: What classes are sorted by, None if nothing is compared.
        gains: Gain of each class that has one.

    Raises:
        CapsynthError: If there is no real image.
    """
    if not real:
        raise CapsynthError("the gallery has no real image; give --real shards with usable images")
    order = sorted(real, key=lambda name: (real[name].record.class_index, name[1]))
    classes = list(dict.fromkeys(class_id for class_id, _ in order))
    rows = []
    for class_id, index in order:
        picture = real[class_id, index]
        caption = captions.get((class_id, picture.record.key), "[no caption]")
        cells = "".join(
            _image_cell(variants[name].get((class_id, index)), with_prompt=True) for name in columns
        )
        its_gain = (gains or {}).get(class_id)
        rows.append(
            Row(
                {"class": class_id},
                f'<td><span class="class">{escape(class_id)}</span><br>'
                f'<span class="key">{escape(picture.record.key)}</span><br>'
                f"{gain_element(its_gain)}</td>"
                f"{_image_cell(picture, with_prompt=False)}"
                f'<td class="text">{escape(caption)}</td>{cells}',
                its_gain,
            )
        )
    each = max(sum(1 for c, _ in order if c == class_id) for class_id in classes)
    note = (
        f"The first {each} usable real images of each class by index, not chosen by hand. Images "
        "of a row share the class and the index, so variants started from the same noise; the "
        "prompt stands under each."
    )
    sorts = []
    if gain is not None:
        note += (
            f" Points are what classifiers gain on the class: top-1 accuracy of {gain.first} less "
            f"{gain.second} on {gain.eval_set}, mean over training seeds."
        )
        sorts = [
            ("in order of the classes", ""),
            ("biggest win first", "descending"),
            ("biggest loss first", "ascending"),
        ]
    return browsing_page(
        "Gallery",
        note,
        heads=[
            *("<th>class</th>", "<th>real image</th>", '<th class="caption">its caption</th>'),
            *(f"<th>{escape(name)}</th>" for name in columns),
        ],
        rows=rows,
        filters=[Filter("class", "all", classes)],
        sorts=sorts,
        searched="captions, prompts and keys",
        style=_STYLE,
    )


def plot_senses(
    variants: Mapping[str, Pictures], columns: Sequence[str], classes: Sequence[str], path: Path
) -> None:
    """Draw the images of ambiguous classes: a row of images a class and variant.

    Args:
        variants: Images of every variant by class and index.
        columns: Variants, from the top row of a class to the bottom.
        classes: The ambiguous classes.
        path: The PNG to write.

    Raises:
        CapsynthError: If no class is given, or a class has no image in any variant.
    """
    if not classes:
        raise CapsynthError("--strip shows ambiguous classes; name some with --ambiguous")
    known = list(dict.fromkeys(c for name in columns for c, _ in variants[name]))
    for class_id in classes:
        check_name("ambiguous class", class_id, known)
    rows = [
        (class_id, name, [p for (c, _), p in sorted(variants[name].items()) if c == class_id])
        for class_id in classes
        for name in columns
    ]
    across = max(len(pictures) for _, _, pictures in rows)
    with paper_style():
        cell = min(LARGEST_CELL_INCHES, (WIDTH_INCHES - LABEL_INCHES) / across)
        width = LABEL_INCHES + cell * across
        height = cell * (len(rows) + CLASS_GAP_CELLS * (len(classes) - 1))
        figure = new_figure(width, height)
        figure.set_layout_engine("none")
        y = height
        for position, (class_id, name, pictures) in enumerate(rows):
            if position and position % len(columns) == 0:
                y -= CLASS_GAP_CELLS * cell
            y -= cell
            figure.text(
                (LABEL_INCHES - 0.08) / width, (y + cell / 2) / height, f"{class_id}\n", ha="right",
                va="center", weight="bold", color=INK,
            )  # fmt: skip
            figure.text(
                (LABEL_INCHES - 0.08) / width, (y + cell / 2) / height, f"\n{name}", ha="right",
                va="center", color=INK,
            )  # fmt: skip
            for column, picture in enumerate(pictures):
                axes = figure.add_axes(
                    (
                        (LABEL_INCHES + column * cell + 0.03 * cell) / width,
                        (y + 0.03 * cell) / height,
                        0.94 * cell / width,
                        0.94 * cell / height,
                    )
                )
                axes.set_axis_off()
                axes.imshow(_array(picture), interpolation="nearest", aspect="equal")
        save_figure(figure, [path])


def _array(picture: Picture) -> np.ndarray:
    """Return the image as an array; a rejected one is an empty light square."""
    if picture.image is None:
        return np.full((1, 1, 3), 236, dtype=np.uint8)
    with Image.open(io.BytesIO(picture.image)) as image:
        small = image.convert("RGB")
        small.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
        return np.asarray(small)


@dataclass(frozen=True)
class GalleryInputs:
    """What a gallery is made of.

    Attributes:
        real: Real shards.
        captions: Caption files.
        variants: Shards of every variant.
        columns: Variants to show, in this order.
    """

    real: tuple[ShardFiles, ...]
    captions: tuple[Path, ...]
    variants: Mapping[str, tuple[ShardFiles, ...]]
    columns: tuple[str, ...]


def make_gallery(
    inputs: GalleryInputs,
    images_per_class: int,
    output: Path,
    gain: GalleryGain | None = None,
    scores: Sequence[Score] = (),
) -> None:
    """Write the gallery page.

    Args:
        inputs: What it is made of.
        images_per_class: Real images of each class.
        output: HTML page.
        gain: What classes are sorted by, None if nothing is compared.
        scores: Rows of scores.csv that hold the gains.

    Raises:
        CapsynthError: If a column has no shards or there is no usable real image.
    """
    for name in inputs.columns:
        check_name("variant in --columns", name, inputs.variants)
    real = read_pictures(inputs.real, images_per_class, usable_only=True)
    variants = {name: read_paired(inputs.variants[name], real) for name in inputs.columns}
    captions = read_captions(inputs.captions)
    gains = class_gains(scores, gain) if gain is not None else {}
    write_text(output, gallery_page(real, captions, variants, inputs.columns, gain, gains))


def make_strip(inputs: GalleryInputs, classes: Sequence[str], images: int, output: Path) -> None:
    """Write the strip of ambiguous classes: the first ``images`` of each, by index.

    Raises:
        CapsynthError: If a column has no shards, or a class no images.
    """
    for name in inputs.columns:
        check_name("variant in --columns", name, inputs.variants)
    variants = {name: read_pictures(inputs.variants[name], images) for name in inputs.columns}
    plot_senses(variants, inputs.columns, classes, output)

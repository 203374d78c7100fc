"""The gallery: real images, their captions, and what variants drew for them, side by side.

Nothing is chosen by how it looks: the page shows the first usable images of every class by index,
and the strip the first of each variant.
"""

import base64
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
from capsynth.reporting.pages import escape, page
from capsynth.reporting.style import INK, WIDTH_INCHES, new_figure, paper_style, save_figure
from capsynth.shards import OK, ShardReader, ShardRecord, read_manifest

# Larger images are scaled down so that the page stays small; smaller ones keep their bytes.
LONGEST_SIDE = 192
# The strip: labels at the left, cells of equal size, a gap between classes.
LABEL_INCHES = 1.1
LARGEST_CELL_INCHES = 0.7
CLASS_GAP_CELLS = 0.3
MIME = {"png": "image/png", "jpg": "image/jpeg"}


@dataclass(frozen=True)
class ShardFiles:
    """Where a shard lies."""

    tar: Path
    manifest: Path


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


def read_captions(paths: Sequence[Path]) -> dict[str, str]:
    """Return the first caption of every real image by key; in brackets, why there is none.

    Raises:
        CapsynthError: If a row has no key, caption or status.
    """
    captions: dict[str, str] = {}
    for path in paths:
        for number, row in enumerate(read_json_lines(path), start=1):
            try:
                text = row["caption"] if row["status"] == OK else f"[{row['status']}]"
                captions.setdefault(row["key"], text)
            except KeyError as error:
                raise CapsynthError(
                    f"{path}:{number}: no {error} in this caption; caption the images again"
                ) from error
    return captions


def data_uri(picture: Picture) -> str:
    """Return the image as a data URI, scaled down if a side is longer than 192 pixels."""
    if picture.image is None:
        raise CapsynthError(f"{picture.record.key!r} has no image: {picture.record.reason}")
    data, mime = picture.image, MIME.get(picture.record.extension or "", "image/png")
    with Image.open(io.BytesIO(data)) as image:
        if max(image.size) > LONGEST_SIDE:
            small = image.convert("RGB")
            small.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
            buffer = io.BytesIO()
            small.save(buffer, "JPEG", quality=88)
            data, mime = buffer.getvalue(), "image/jpeg"
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


_STYLE = """
.tools { position: sticky; top: 0; display: flex; flex-wrap: wrap; gap: .4rem; align-items: center;
  background: #fff; padding: .6rem 0; border-bottom: 1px solid #d8dde2; z-index: 1; }
.tools button, .tools input, .tools select { font: inherit; font-size: .88rem; color: inherit;
  padding: .2rem .7rem; border: 1px solid #c8cdd3; border-radius: 1rem; background: #fff; }
.tools button { cursor: pointer; }
.tools button[aria-pressed=true] { background: #0072b2; border-color: #0072b2; color: #fff; }
.tools input { flex: 1 1 12rem; border-radius: .4rem; }
.tools output { color: #57606a; font-size: .88rem; min-width: 5.5rem; text-align: right; }
table { border-collapse: collapse; width: 100%; table-layout: fixed; }
th { text-align: left; font-size: .85rem; font-weight: 600; padding: .8rem .8rem .4rem 0; }
td { vertical-align: top; padding: .8rem .8rem .8rem 0; border-top: 1px solid #eceff2; }
th.caption { width: 26%; }
img { display: block; width: 100%; max-width: 144px; height: auto; border-radius: 4px; }
img.small { image-rendering: pixelated; }
.class { font-weight: 650; font-size: .85rem; }
.key, .prompt { color: #57606a; font-size: .78rem; overflow-wrap: anywhere; }
.prompt { display: block; margin-top: .35rem; line-height: 1.35; }
.text { overflow-wrap: anywhere; }
.none { color: #57606a; font-style: italic; font-size: .85rem; }
tr[hidden] { display: none; }
"""

_SCRIPT = """
"use strict";
const rows = Array.from(document.querySelectorAll("tbody tr"));
const buttons = Array.from(document.querySelectorAll(".tools button"));
const choice = document.querySelector(".tools select");
const search = document.querySelector(".tools input");
const count = document.querySelector(".tools output");
let chosen = "";
function show() {
  const words = search.value.toLowerCase();
  let shown = 0;
  rows.forEach((row) => {
    const fits = (!chosen || row.dataset.class === chosen)
      && row.textContent.toLowerCase().includes(words);
    row.hidden = !fits;
    shown += fits;
  });
  buttons.forEach((b) => b.setAttribute("aria-pressed", String(b.dataset.class === chosen)));
  count.textContent = shown + " of " + rows.length;
}
buttons.forEach((b) => b.addEventListener("click", () => { chosen = b.dataset.class; show(); }));
if (choice) choice.addEventListener("change", () => { chosen = choice.value; show(); });
search.addEventListener("input", show);
show();
"""

# So many classes fit on buttons; more go into a list.
MOST_BUTTONS = 24


def _image_cell(picture: Picture | None, with_prompt: bool) -> str:
    if picture is None:
        return '<td><span class="none">not drawn</span></td>'
    record = picture.record
    prompt = f'<span class="prompt">{escape(record.prompt or "")}</span>' if with_prompt else ""
    if picture.image is None:
        reason = f"rejected: {record.reason or 'no reason given'}"
        return f'<td><span class="none">{escape(reason)}</span>{prompt}</td>'
    with Image.open(io.BytesIO(picture.image)) as image:
        small = ' class="small"' if max(image.size) <= LONGEST_SIDE // 2 else ""
    alt = escape(record.prompt or record.key)
    return f'<td><img{small} loading="lazy" src="{data_uri(picture)}" alt="{alt}">{prompt}</td>'


def _class_filter(classes: Sequence[str]) -> str:
    if len(classes) <= MOST_BUTTONS:
        return '<button type="button" data-class="">all</button>' + "".join(
            f'<button type="button" data-class="{escape(c)}">{escape(c)}</button>' for c in classes
        )
    options = "".join(f'<option value="{escape(c)}">{escape(c)}</option>' for c in classes)
    return f'<select aria-label="class"><option value="">all classes</option>{options}</select>'


def gallery_page(
    real: Pictures,
    captions: Mapping[str, str],
    variants: Mapping[str, Pictures],
    columns: Sequence[str],
) -> str:
    """Return the gallery as one page: a row a real image, what variants drew beside it.

    Args:
        real: Real images by class and index.
        captions: Captions by the key of the real image.
        variants: Images of every variant by class and index.
        columns: Variants to show, in this order.

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
        caption = captions.get(picture.record.key, "[no caption]")
        cells = "".join(
            _image_cell(variants[name].get((class_id, index)), with_prompt=True) for name in columns
        )
        rows.append(
            f'<tr data-class="{escape(class_id)}">'
            f'<td><span class="class">{escape(class_id)}</span><br>'
            f'<span class="key">{escape(picture.record.key)}</span></td>'
            f"{_image_cell(picture, with_prompt=False)}"
            f'<td class="text">{escape(caption)}</td>{cells}</tr>\n'
        )
    heads = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = (
        f'<div class="tools">{_class_filter(classes)}'
        '<input type="search" aria-label="search captions and prompts" '
        'placeholder="search captions and prompts"><output></output></div>\n'
        '<table>\n<thead><tr><th>class</th><th>real image</th><th class="caption">its caption</th>'
        f"{heads}</tr></thead>\n<tbody>\n{''.join(rows)}</tbody>\n</table>"
    )
    each = max(sum(1 for c, _ in order if c == class_id) for class_id in classes)
    note = (
        f"The first {each} usable real images of each class by index, not chosen by hand. Images "
        "of a row share the class and the index, so variants started from the same noise; the "
        "prompt stands under each."
    )
    return page("Gallery", note, body, _STYLE, _SCRIPT)


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


def make_gallery(inputs: GalleryInputs, images_per_class: int, output: Path) -> None:
    """Write the gallery page.

    Raises:
        CapsynthError: If a column has no shards or there is no usable real image.
    """
    for name in inputs.columns:
        check_name("variant in --columns", name, inputs.variants)
    real = read_pictures(inputs.real, images_per_class, usable_only=True)
    variants = {name: read_paired(inputs.variants[name], real) for name in inputs.columns}
    captions = read_captions(inputs.captions)
    write_text(output, gallery_page(real, captions, variants, inputs.columns))


def make_strip(inputs: GalleryInputs, classes: Sequence[str], images: int, output: Path) -> None:
    """Write the strip of ambiguous classes: the first ``images`` of each, by index.

    Raises:
        CapsynthError: If a column has no shards, or a class no images.
    """
    for name in inputs.columns:
        check_name("variant in --columns", name, inputs.variants)
    variants = {name: read_pictures(inputs.variants[name], images) for name in inputs.columns}
    plot_senses(variants, inputs.columns, classes, output)

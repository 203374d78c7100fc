"""Pages of pictures, a row each, that are filtered, searched and sorted."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image

from capsynth.reporting.pages import escape, page

MIME = {"png": "image/png", "jpg": "image/jpeg"}
# So many values fit on buttons; more go into a list.
MOST_BUTTONS = 24
# Of a column: with more of them than a narrow page has room for the table scrolls.
_LEAST_WIDTH_REM = 5.5

_STYLE = """
.tools { position: sticky; top: 0; display: flex; flex-wrap: wrap; gap: .4rem; align-items: center;
  background: #fff; padding: .6rem 0; border-bottom: 1px solid #d8dde2; z-index: 1; }
.tools div { display: flex; flex-wrap: wrap; gap: .4rem; flex-basis: 100%; }
.tools button, .tools input, .tools select { font: inherit; font-size: .88rem; color: inherit;
  padding: .2rem .7rem; border: 1px solid #c8cdd3; border-radius: 1rem; background: #fff; }
.tools button { cursor: pointer; }
.tools button[aria-pressed=true] { background: #0072b2; border-color: #0072b2; color: #fff; }
.tools input { flex: 1 1 12rem; border-radius: .4rem; }
.tools output { color: #57606a; font-size: .88rem; min-width: 5.5rem; text-align: right; }
table { border-collapse: collapse; width: 100%; table-layout: fixed; }
th { text-align: left; font-size: .85rem; font-weight: 600; padding: .8rem .8rem .4rem 0; }
td { vertical-align: top; padding: .8rem .8rem .8rem 0; border-top: 1px solid #eceff2; }
img { display: block; width: 100%; max-width: 144px; height: auto; border-radius: 4px; }
img.small { image-rendering: pixelated; }
.class { font-weight: 650; font-size: .85rem; }
.key, .prompt, .about { color: #57606a; font-size: .78rem; overflow-wrap: anywhere; }
.prompt { display: block; margin-top: .35rem; line-height: 1.35; }
.text { overflow-wrap: anywhere; }
.none { color: #57606a; font-style: italic; font-size: .85rem; }
.gain { font-size: .85rem; font-variant-numeric: tabular-nums; white-space: nowrap; }
.win { color: #0072b2; }
.loss { color: #b34700; }
tr[hidden] { display: none; }
@media (max-width: 40rem) {
  .scroll { overflow-x: auto; }
  .gain { white-space: normal; }
  th, td { overflow-wrap: anywhere; }
}
"""

_SCRIPT = """
"use strict";
const body = document.querySelector("tbody");
const rows = Array.from(body.rows);
const filters = Array.from(document.querySelectorAll("[data-filter]"));
const order = document.querySelector("[data-sorts]");
const search = document.querySelector("input");
const count = document.querySelector("output");
const chosen = {};
function show() {
  const words = search.value.toLowerCase();
  let shown = 0;
  rows.forEach((row) => {
    const fits = Object.entries(chosen)
      .every(([name, value]) => !value || row.dataset[name] === value)
      && row.textContent.toLowerCase().includes(words);
    row.hidden = !fits;
    shown += fits;
  });
  count.textContent = shown + " of " + rows.length;
}
function sort() {
  const sign = { descending: -1, ascending: 1 }[order.value] || 0;
  const place = (row) => rows.indexOf(row);
  const compare = (a, b) => {
    const [x, y] = [a, b].map((row) => row.dataset.gain);
    if (!sign || x === y) return place(a) - place(b);
    if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);
    return sign * (x - y) || place(a) - place(b);
  };
  body.append(...rows.slice().sort(compare));
}
filters.forEach((filter) => {
  const choose = (value) => {
    chosen[filter.dataset.filter] = value;
    filter.querySelectorAll("button").forEach((button) => {
      button.setAttribute("aria-pressed", String(button.dataset.value === value));
    });
    show();
  };
  filter.querySelectorAll("button").forEach((button) => {
    button.addEventListener("click", () => choose(button.dataset.value));
  });
  filter.addEventListener("change", () => choose(filter.value));
});
if (order) order.addEventListener("change", sort);
search.addEventListener("input", show);
show();
"""


@dataclass(frozen=True)
class Filter:
    """What rows are filtered by.

    Attributes:
        name: One lower-case word; rows have it among their values.
        everything: What stands for no choice.
        values: The values to choose from.
    """

    name: str
    everything: str
    values: Sequence[str]


@dataclass(frozen=True)
class Row:
    """A row of the page.

    Attributes:
        values: What it is filtered by, by the names of the filters.
        cells: Its cells, HTML of whole ``td`` elements.
        gain: What it is sorted by; None sorts last.
    """

    values: Mapping[str, str]
    cells: str
    gain: float | None = None


def data_uri(data: bytes, extension: str, side: int, most_bytes: int | None = None) -> str:
    """Return an image as a data URI: its own bytes, or if it is too large a smaller JPEG.

    Args:
        data: The encoded image.
        extension: ``png`` or ``jpg``.
        side: Longest side, pixels.
        most_bytes: Bytes above which an image is written as JPEG; None for no bound.
    """
    mime = MIME.get(extension, "image/png")
    with Image.open(io.BytesIO(data)) as image:
        if max(image.size) > side or (most_bytes is not None and len(data) > most_bytes):
            small = image.convert("RGB")
            small.thumbnail((side, side), Image.Resampling.LANCZOS)
            buffer = io.BytesIO()
            small.save(buffer, "JPEG", quality=85)
            data, mime = buffer.getvalue(), "image/jpeg"
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


def image_element(uri: str, longest: int, description: str) -> str:
    """Return an ``img`` element; pixels of images up to 96 pixels stay visible.

    Args:
        uri: From ``data_uri``.
        longest: Longer side of the image, pixels.
        description: Text in place of the image.
    """
    small = ' class="small"' if longest <= 96 else ""
    return f'<img{small} loading="lazy" src="{uri}" alt="{escape(description)}">'


def gain_element(gain: float | None) -> str:
    """Return a difference of shares in points, blue above and orange below 0."""
    if gain is None:
        return ""
    points = f"{100 * gain:+.1f}"
    text = "0.0" if float(points) == 0 else points.replace("-", "\N{MINUS SIGN}")
    kind = "win" if gain > 0 else "loss"
    return f'<span class="gain {kind}">{text} points</span>'


def browsing_page(
    title: str,
    note: str,
    *,
    heads: Sequence[str],
    rows: Sequence[Row],
    filters: Sequence[Filter],
    sorts: Sequence[tuple[str, str]],
    searched: str,
    style: str = "",
) -> str:
    """Return a page of rows.

    Args:
        title: Plain text.
        note: Plain text under the title.
        heads: Titles of the columns, HTML of whole ``th`` elements.
        rows: The rows in the order that they have without script.
        filters: What they are filtered by.
        sorts: Words for each order by gain and ``ascending`` or ``descending``; ``""`` is the order
            of ``rows``. None where rows have no gain.
        searched: What the search looks through, in words.
        style: CSS beside that of all such pages.
    """
    tools = "".join(_filter_tool(f) for f in filters)
    if sorts:
        options = "".join(
            f'<option value="{order}">{escape(text)}</option>' for text, order in sorts
        )
        tools += f'<select data-sorts aria-label="order">{options}</select>'
    words = f"search {searched}"
    tools += f'<input type="search" aria-label="{escape(words)}" placeholder="{escape(words)}">'
    body = (
        f'<div class="tools">{tools}<output></output></div>\n'
        f'<div class="scroll"><table style="min-width: {_LEAST_WIDTH_REM * len(heads)}rem">\n'
        f"<thead><tr>{''.join(heads)}</tr></thead>\n"
        f"<tbody>\n{''.join(map(_row, rows))}</tbody>\n</table></div>"
    )
    return page(title, note, body, _STYLE + style, _SCRIPT)


def _row(row: Row) -> str:
    values = "".join(f' data-{name}="{escape(value)}"' for name, value in row.values.items())
    gain = "" if row.gain is None else f' data-gain="{row.gain:.6f}"'
    return f"<tr{values}{gain}>{row.cells}</tr>\n"


def _filter_tool(filter_: Filter) -> str:
    about = f'aria-label="{filter_.name}" data-filter="{filter_.name}"'
    choices = [
        (escape(value), escape(value or filter_.everything)) for value in ("", *filter_.values)
    ]
    if len(filter_.values) > MOST_BUTTONS:
        options = "".join(f'<option value="{value}">{text}</option>' for value, text in choices)
        return f"<select {about}>{options}</select>"
    buttons = "".join(
        f'<button type="button" data-value="{value}" aria-pressed="{str(not value).lower()}">'
        f"{text}</button>"
        for value, text in choices
    )
    return f'<div role="group" {about}>{buttons}</div>'

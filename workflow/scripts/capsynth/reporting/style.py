"""How figures look and how they are written: for print, for the colour-blind, the same bytes."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from capsynth.errors import CapsynthError
from capsynth.files import atomic_path

# Okabe and Ito, Color Universal Design, 2008, without the yellow that vanishes on white, and a
# purple; grey is what is not clearly above chance.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#6A3D9A")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h")
INK = "#1b1f24"
MUTED = "#57606a"
GRID = "#e3e6ea"
# What is not clearly above chance.
NO_EVIDENCE = "#a3a9b1"
CHANCE_DASHES = (0, (1, 2, 4, 2))
WIDTH_INCHES = 7.2

_SETTINGS: dict[Any, Any] = {
    # Names may hold dollar signs.
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "figure.dpi": 100,
    "savefig.dpi": 220,
    "svg.hashsalt": "capsynth",
}


@contextmanager
def paper_style() -> Iterator[None]:
    """Draw and save figures in the report's style inside the block."""
    with mpl.rc_context(_SETTINGS):
        yield


def new_figure(width: float, height: float) -> Figure:
    """Return a figure of a size in inches whose parts keep clear of each other."""
    return Figure(figsize=(width, height), layout="constrained")


def hide(axes: Axes) -> None:
    """Hide an empty panel."""
    axes.set_axis_off()


def draw_chance(axes: Axes, level: float | None, upright: bool = False) -> None:
    """Draw the chance level of an accuracy as a line, where it is known."""
    if level is not None:
        draw = axes.axvline if upright else axes.axhline
        draw(level, ls=CHANCE_DASHES, color=MUTED, lw=0.9, zorder=1)


def chance_handles() -> list[Line2D]:
    """Return what a legend says of ``draw_chance``, and of what is grey."""
    return [
        Line2D([], [], ls=CHANCE_DASHES, color=MUTED, lw=0.9, label="chance"),
        Line2D([], [], ls="", marker="s", ms=6, color=NO_EVIDENCE, label="grey: at chance"),
    ]


def save_figure(figure: Figure, paths: Sequence[Path]) -> None:
    """Write a figure to every path, atomically and without dates; suffixes say the formats.

    Raises:
        CapsynthError: If a suffix is neither .png nor .svg.
    """
    for path in paths:
        kind = path.suffix.removeprefix(".")
        if kind not in ("png", "svg"):
            raise CapsynthError(f"{path}: a figure is written as .png or .svg; rename it")
    for path in paths:
        kind = path.suffix.removeprefix(".")
        about = {"Software": None} if kind == "png" else {"Date": None, "Creator": None}
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format=kind, metadata=about)

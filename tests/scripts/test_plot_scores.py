from pathlib import Path
from typing import Any

import pytest

from capsynth.errors import CapsynthError
from plot_class_gains import main as plot_class_gains
from plot_robustness import main as plot_robustness

PNG = b"\x89PNG"


@pytest.mark.parametrize("scale", ["linear", "logit"])
def test_robustness_is_drawn_as_png_and_svg(
    scale: str, scores_csv: Path, settings_json: str, measured: Any, tmp_path: Path
) -> None:
    png, svg = tmp_path / "robustness.png", tmp_path / "robustness.svg"
    plot_robustness(["--scores", str(scores_csv), "--config-json", settings_json,
                     "--lines", str(measured.lines), "--settings", measured.settings,
                     "--scale", scale, "--output", str(png), str(svg)])  # fmt: skip
    assert png.read_bytes()[:4] == PNG
    assert "<svg" in svg.read_text(encoding="utf-8")


def test_class_gains_are_drawn(
    scores_csv: Path, budgets_csv: Path, settings_json: str, tmp_path: Path
) -> None:
    png = tmp_path / "gains.png"
    plot_class_gains(["--scores", str(scores_csv), "--budgets", str(budgets_csv),
                      "--config-json", settings_json,
                      "--comparison", "caption", "class-name", "--output", str(png)])  # fmt: skip
    assert png.read_bytes()[:4] == PNG


def test_a_comparison_that_was_not_configured_is_refused(
    scores_csv: Path, budgets_csv: Path, settings_json: str, tmp_path: Path
) -> None:
    with pytest.raises(CapsynthError, match=r"add the pair to report\.comparisons"):
        plot_class_gains(["--scores", str(scores_csv), "--budgets", str(budgets_csv),
                      "--config-json", settings_json,
                          "--comparison", "caption", "real",
                          "--output", str(tmp_path / "x.png")])  # fmt: skip

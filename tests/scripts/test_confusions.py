import json
from pathlib import Path

import pytest

from capsynth.errors import CapsynthError
from compare_confusions import main as compare_confusions
from make_confusion_table import main as make_confusion_table
from plot_confusions import main as plot_confusions


@pytest.fixture(scope="module")
def confusions_csv(prediction_files: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("confusions") / "confusions.csv"
    arguments = path.with_suffix(".txt")
    arguments.write_text("".join(f"{w}\n" for w in ("--predictions", *prediction_files)))
    pairs = json.dumps([["caption", "class-name"]])
    compare_confusions([f"@{arguments}", "--comparisons", pairs, "--output", str(path)])
    return path


def test_every_pair_of_classes_is_compared_on_every_set(confusions_csv: Path) -> None:
    lines = confusions_csv.read_text().splitlines()
    assert lines[0].startswith("dataset,comparison,recipe,eval_set,target,prediction,value,ci_low")
    assert len(lines) == 1 + 3 * 3 * 3


def test_the_table_is_written_in_four_formats(
    confusions_csv: Path, budgets_csv: Path, settings_json: str, tmp_path: Path
) -> None:
    make_confusion_table(["--confusions", str(confusions_csv), "--budgets", str(budgets_csv),
                          "--config-json", settings_json,
                          "--output-dir", str(tmp_path)])  # fmt: skip
    for suffix in ("html", "md"):
        text = (tmp_path / f"confusions.{suffix}").read_text()
        assert "] †" in text.replace("\\", "")
        assert "† the two sides differ in optimisation steps" in text
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [f"confusions.{suffix}" for suffix in ("csv", "html", "md", "tex")]


def test_the_figure_is_drawn_and_only_for_comparisons(
    confusions_csv: Path, budgets_csv: Path, settings_json: str, tmp_path: Path
) -> None:
    args = ["--confusions", str(confusions_csv), "--budgets", str(budgets_csv),
            "--config-json", settings_json, "--output", str(tmp_path / "c.png")]  # fmt: skip
    plot_confusions([*args, "--comparison", "caption", "class-name"])
    assert (tmp_path / "c.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(CapsynthError, match="no confusions compare 'caption' with 'real'"):
        plot_confusions([*args, "--comparison", "caption", "real"])

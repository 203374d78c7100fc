"""Tables and figures about privacy, from tables made up for it."""

import json
from pathlib import Path

import pytest

import collect_privacy
import make_leakage_table
import make_privacy_table
import plot_roc
from capsynth.privacy.membership import WITHOUT_LEAK
from capsynth.privacy.results import AttackScore, CurvePoint, Leakage
from capsynth.records import read_records, write_records

SETTINGS = json.dumps(
    {
        "in_distribution": "toy-val",
        "training_sets": ["real", "caption"],
        "eval_sets": ["toy-val"],
        "comparisons": [],
    }
)


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    """Two attacks on two training sets; one rate is not known."""
    rows = []
    for training_set, auc in (("caption", 0.52), ("real", 0.6)):
        name = ("toy", training_set, "tiny", "real", "confidence")
        rows.append(AttackScore(*name, "auc", auc, auc - 0.03, auc + 0.03, 1400, 400, 3))
        rows.append(AttackScore(*name, "tpr_at_fpr_0.001", None, 0.0, 0.032, 1400, 400, 3))
        name = ("toy", training_set, "tiny", "real", "paper")
        rows.append(AttackScore(*name, "best_accuracy", 0.7, 0.6, 0.8, 16, 400, 3))
        rows.append(AttackScore(*name, WITHOUT_LEAK, 0.58, None, None, 16, 400, 3))
    write_records(tmp_path / "scores.csv", AttackScore, rows)
    return tmp_path / "scores.csv"


@pytest.fixture
def curves(tmp_path: Path) -> Path:
    """The curves of two models, one of which finds nothing at few false alarms."""
    points = [
        CurvePoint("toy", "real", "tiny", "real", "confidence", model, fpr, model * fpr)
        for model in (0, 1)
        for fpr in (0.01, 0.1, 1.0)
    ]
    write_records(tmp_path / "curves.csv", CurvePoint, points)
    return tmp_path / "curves.csv"


def test_the_table_of_attacks_sets_the_paper_beside_what_it_finds_without_a_leak(
    scores: Path, tmp_path: Path
) -> None:
    make_privacy_table.main(
        ["--scores", str(scores), "--config-json", SETTINGS, "--output-dir", str(tmp_path)]
    )
    lines = (tmp_path / "privacy.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line[:3] == "| r"]
    assert [row[1:2] + row[3:4] for row in rows] == [
        ["real", "paper"],
        ["real", "confidence"],
        ["caption", "paper"],
        ["caption", "confidence"],
    ]
    assert rows[0][8:11] == ["70.0 [60.0, 80.0]", "58.0", "16"]
    assert rows[1][4] == "60.0 [57.0, 63.0]"
    assert rows[1][7] == "\N{LESS-THAN OR EQUAL TO} 3.2"
    assert all((tmp_path / f"privacy.{suffix}").exists() for suffix in ("csv", "tex", "html"))


def test_collecting_puts_the_rows_of_all_files_in_order(
    scores: Path, curves: Path, tmp_path: Path
) -> None:
    rows = read_records(scores, AttackScore, "attack_membership")
    parts = [tmp_path / "caption.csv", tmp_path / "real.csv"]
    for part in parts:
        write_records(part, AttackScore, [r for r in rows if r.training_set == part.stem])
    made = tmp_path / "all.csv"
    collect_privacy.main(
        [
            *("--scores", *map(str, reversed(parts)), "--curves", str(curves)),
            *("--output", str(made), "--curves-output", str(tmp_path / "all-roc.csv")),
        ]
    )
    assert made.read_bytes() == scores.read_bytes()
    assert (tmp_path / "all-roc.csv").read_bytes() == curves.read_bytes()


def test_the_figure_has_the_same_bytes_each_time(curves: Path, tmp_path: Path) -> None:
    made = []
    for name in ("a", "b"):
        paths = [tmp_path / f"{name}.png", tmp_path / f"{name}.svg"]
        words = ["--curves", str(curves), "--definition", "real", "--config-json", SETTINGS]
        plot_roc.main([*words, "--output", *map(str, paths)])
        made.append([path.read_bytes() for path in paths])
    assert made[0] == made[1]
    assert b"confidence" in made[0][1]


def test_the_table_of_leakage_has_a_row_a_variant(tmp_path: Path) -> None:
    rows = [
        Leakage("toy", "caption", "clip", "auc/any", 0.9, 0.8, 0.95, 40),
        Leakage("toy", "caption", "pixels", "exact_duplicates", 0.0, 0.0, 0.09, 40),
        Leakage("toy", "real", "hash", "near_duplicates", 0.0, None, None, 40),
    ]
    write_records(tmp_path / "leakage.csv", Leakage, rows)
    arguments = ["--leakage", str(tmp_path / "leakage.csv"), "--output-dir", str(tmp_path / "t")]
    make_leakage_table.main(arguments)
    text = (tmp_path / "t/leakage.md").read_text()
    assert "90.0 [80.0, 95.0]" in text
    assert "0.0 [0.0, 9.0]" in text
    assert "| real" not in text


def test_what_is_not_there_is_said(
    curves: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from capsynth import cli

    words = ["--curves", str(curves), "--definition", "synthetic", "--config-json", SETTINGS]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["plot_roc", *words, "--output", str(tmp_path / "a.png")])
        assert cli.run(plot_roc.main) == 1
    assert "no curve with members 'synthetic'" in capsys.readouterr().err

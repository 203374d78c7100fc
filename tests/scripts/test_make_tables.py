from pathlib import Path

import pytest

from capsynth.errors import CapsynthError
from capsynth.files import write_json_lines
from make_tables import main
from print_table import main as print_table


def test_three_tables_are_written_in_four_formats(
    scores_csv: Path, budgets_csv: Path, settings_json: str, tmp_path: Path
) -> None:
    args = ["--scores", str(scores_csv), "--budgets", str(budgets_csv)]
    args += ["--config-json", settings_json]
    main([*args, "--output-dir", str(tmp_path)])
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        f"{name}.{suffix}"
        for name in ("main", "comparisons", "per-class")
        for suffix in ("csv", "html", "md", "tex")
    )
    lines = (tmp_path / "main.csv").read_text().splitlines()
    names = ["real", "class-name", "caption", "chance"]
    assert [line.split(",")[0] for line in lines[1:]] == names
    assert lines[2].startswith("class-name,tiny,0,24,16,16,")
    assert len((tmp_path / "comparisons.csv").read_text().splitlines()) == 4


def test_prompts_that_fell_back_are_told_under_the_tables(
    scores_csv: Path, budgets_csv: Path, settings_json: str, tmp_path: Path
) -> None:
    about = {"key": "bat_0", "class_id": "bat", "class_index": 0, "index": 0, "seed": 0}
    about |= {"prompt": "a bat", "source_key": "k", "status": "fallback", "has_class_word": None}
    prompts = tmp_path / "prompts.jsonl"
    write_json_lines(prompts, [{**about, "fingerprint": "f", "fell_back": "empty-caption"}] * 57)
    main(["--scores", str(scores_csv), "--budgets", str(budgets_csv), "--config-json",
          settings_json,
          "--training-set", "caption", "results/toy/images/caption", "1.0",
          "--prompts", "caption", str(prompts), "--output-dir", str(tmp_path)])  # fmt: skip
    for table in ("main", "comparisons", "per-class"):
        text = (tmp_path / f"{table}.md").read_text()
        assert "Of the 57 prompts of variant caption, 57 (100.0%) fell back" in text


def test_missing_scores_or_budgets_are_refused(
    scores_csv: Path, budgets_csv: Path, settings_json: str, tmp_path: Path
) -> None:
    missing = tmp_path / "no.csv"
    for scores, budgets, rule in (
        (missing, budgets_csv, "collect_scores"),
        (scores_csv, missing, "measure_budgets"),
    ):
        with pytest.raises(CapsynthError, match=f"run {rule} first"):
            main(["--scores", str(scores), "--budgets", str(budgets), "--config-json",
                  settings_json, "--output-dir", str(tmp_path)])  # fmt: skip


def test_the_tables_and_the_place_of_the_report_are_printed(
    scores_csv: Path,
    budgets_csv: Path,
    settings_json: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    main(["--scores", str(scores_csv), "--budgets", str(budgets_csv), "--config-json",
          settings_json, "--output-dir", str(tmp_path)])  # fmt: skip
    report = tmp_path / "report.html"
    report.touch()
    tables = [str(tmp_path / f"{name}.md") for name in ("main", "comparisons")]
    print_table(["--table", *tables, "--report", str(report)])
    printed = capsys.readouterr().out.splitlines()
    assert printed[2].split()[:3] == ["Training", "set", "Recipe"]
    assert any("†" in line and "32 / 16" in line for line in printed)
    assert any(line.startswith("chance ") and "33.3" in line for line in printed)
    assert printed[-1] == f"report: {report}"


def test_a_report_that_is_not_there_is_not_announced(tmp_path: Path) -> None:
    table = tmp_path / "main.md"
    table.touch()
    with pytest.raises(CapsynthError, match=r"report\.html does not exist"):
        print_table(["--table", str(table), "--report", str(tmp_path / "report.html")])


def test_a_file_without_a_table_is_refused(tmp_path: Path) -> None:
    table = tmp_path / "main.md"
    table.write_text("nothing\n")
    with pytest.raises(CapsynthError, match="holds no table"):
        print_table(["--table", str(table), "--report", str(table)])

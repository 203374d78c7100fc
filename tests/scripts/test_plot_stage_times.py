from pathlib import Path

import pytest

from capsynth.errors import CapsynthError
from plot_stage_times import main


def test_times_are_drawn_and_written(tmp_path: Path) -> None:
    folder = tmp_path / "benchmarks" / "train_classifier"
    folder.mkdir(parents=True)
    for seed in range(2):
        (folder / f"seed{seed}.tsv").write_text("s\th:m:s\n1.5\t0:00:01\n")
    files = [str(path) for path in folder.iterdir()]
    table, png = tmp_path / "times.csv", tmp_path / "times.png"
    main(["--benchmarks", *files, "--csv", str(table), "--output", str(png)])
    assert table.read_text().splitlines()[1] == "train_classifier,2,3.0,,1.0,"
    assert png.read_bytes()[:4] == b"\x89PNG"


def test_a_file_that_is_no_benchmark_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "benchmarks" / "rule.tsv"
    path.parent.mkdir()
    path.write_text("a\tb\n1\t2\n")
    with pytest.raises(CapsynthError, match="no benchmark of Snakemake"):
        main(["--benchmarks", str(path), "--csv", "x.csv", "--output", "x.png"])

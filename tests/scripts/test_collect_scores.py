import json
from pathlib import Path

import pytest

from capsynth.errors import CapsynthError
from capsynth.reporting.scores import read_scores
from collect_scores import main


def test_every_run_evaluation_set_and_comparison_has_its_rows(scores_csv: Path) -> None:
    rows = read_scores(scores_csv)
    runs = {(r.training_set, r.seed, r.eval_set) for r in rows if r.seed is not None}
    assert len(runs) == 3 * 3 * 3
    compared = {r.eval_set for r in rows if r.training_set == "caption - class-name"}
    assert compared == {"toy-val", "toy-r", "toy-c"}


def test_the_same_predictions_give_the_same_bytes(
    prediction_files: list[Path], scores_csv: Path, tmp_path: Path
) -> None:
    output = tmp_path / "scores.csv"
    files = [str(path) for path in reversed(prediction_files)]
    pairs = json.dumps([["caption", "class-name"]])
    main(
        ["--predictions", *files, "--comparisons", pairs, "--draws", "200", "--output", str(output)]
    )
    assert output.read_bytes() == scores_csv.read_bytes()


@pytest.mark.parametrize("text", ["[", '["caption", "class-name"]', '[["a"]]', "3"])
def test_comparisons_that_are_no_pairs_are_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(CapsynthError, match="--comparisons"):
        main(["--predictions", "x", "--comparisons", text, "--output", str(tmp_path / "s.csv")])


def test_a_set_outside_of_the_family_has_no_corrected_p_value(
    prediction_files: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "scores.csv"
    files = [str(file) for file in prediction_files]
    main(
        ["--predictions", *files, "--comparisons", '[["caption", "class-name"]]', "--draws", "100",
         "--outside-family", "toy-c", "--output", str(out)]
    )  # fmt: skip
    rows = read_scores(out)
    assert {r.eval_set for r in rows if r.metric == "p_value"} == {"toy-val", "toy-r", "toy-c"}
    assert {r.eval_set for r in rows if r.metric == "p_holm"} == {"toy-val", "toy-r"}

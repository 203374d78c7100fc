"""The command line of a sweep: what it starts, where it stops, how it goes on."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import plot_sweep
import run_sweep
from capsynth import sweeps
from capsynth.errors import CapsynthError
from capsynth.reporting.scores import Score, write_scores
from capsynth.yaml_files import read_yaml

SWEEP = "config/context-bias.yaml"
FOLDER = Path("results/sweeps/context-bias")


class FakeSnakemake:
    """Writes down how it was called and makes the scores that Snakemake would make."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.exit_codes: list[int] = []

    def __call__(self, command: list[str], lock: int) -> int:
        """Stand in for ``sweeps.run_command``."""
        assert os.fstat(lock)
        self.calls.append(command)
        if self.exit_codes and (exit_code := self.exit_codes.pop(0)):
            return exit_code
        folder = Path(command[command.index("--directory") + 1])
        config = yaml.safe_load((folder / "config.yaml").read_text())
        if "--dry-run" not in command:
            rows = [
                Score(
                    "openmoji", training_set, "cpu-tiny", None, eval_set, "top1", 0.5, 0.4, 0.6, 9
                )
                for training_set in config["training_sets"]
                for eval_set in config["eval_sets"]
                if eval_set != config["report"]["calibration_set"]
                and eval_set != config["learning_curves"]["eval_set"]
            ]
            write_scores(folder / "results" / "scores.csv", rows)
        return 0

    @property
    def folders(self) -> list[str]:
        """The names of the folders that it was called for."""
        return [Path(call[call.index("--directory") + 1]).name for call in self.calls]


@pytest.fixture
def snakemake(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FakeSnakemake]:
    """A folder with the configurations, and a stand-in for Snakemake."""
    (tmp_path / "config").mkdir()
    for name in ("config.yaml", SWEEP):
        shutil.copy(repository / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    fake = FakeSnakemake()
    monkeypatch.setattr(run_sweep, "run_command", fake)
    locks: list[int] = []

    def take_lock(path: Path) -> int:
        # The process of a command line ends and with it the lock; that of the tests goes on.
        while locks:
            os.close(locks.pop())
        locks.append(sweeps.take_lock(path))
        return locks[0]

    monkeypatch.setattr(run_sweep, "take_lock", take_lock)
    yield fake
    for lock in locks:
        os.close(lock)


def test_a_dry_run_asks_snakemake_about_every_value_and_makes_configs_only(
    snakemake: FakeSnakemake,
) -> None:
    run_sweep.main([SWEEP, "--cores", "3", "--dry-run"])
    assert snakemake.calls == [
        ["snakemake", "--directory", f"{FOLDER}/{value}", "--cores", "3",
         "--rerun-incomplete", "--nolock", "--dry-run", "--quiet", "rules"]
        for value in ("0.0", "0.5", "0.9")
    ]  # fmt: skip
    made = sorted(path.as_posix() for path in FOLDER.rglob("*") if path.is_file())
    configs = [f"{FOLDER}/{value}/config.yaml" for value in ("0.0", "0.5", "0.9")]
    assert made == [f"{FOLDER}/.lock", *configs]


def test_a_sweep_ends_with_its_scores_and_its_figure(
    snakemake: FakeSnakemake, capsys: pytest.CaptureFixture[str]
) -> None:
    run_sweep.main([SWEEP])
    assert snakemake.folders == ["0.0", "0.5", "0.9"]
    assert not any("--dry-run" in call for call in snakemake.calls)
    names = [f"{FOLDER}/{name}" for name in ("scores.csv", "accuracy.png", "accuracy.svg")]
    assert capsys.readouterr().out.splitlines() == names
    head, *rows = Path(names[0]).read_text().splitlines()
    assert head.startswith("context_bias,dataset,training_set,")
    assert list(dict.fromkeys(row.split(",")[0] for row in rows)) == ["0.0", "0.5", "0.9"]
    assert len(rows) == 3 * 9 * 7  # values, training sets, evaluation sets
    assert Path(names[1]).read_bytes()[:4] == b"\x89PNG"
    assert "<svg" in Path(names[2]).read_text()


def test_further_configurations_are_put_over_the_first_and_under_the_sweep(
    snakemake: FakeSnakemake,
) -> None:
    for name, steps in (("one", 10), ("two", 20)):
        over: dict[str, Any] = {"training_seeds": [7, 8], "recipes": {"cpu-tiny": {"steps": steps}}}
        over["eval_sets"] = {"openmoji-val": {"images_per_class": 3, "seed": 5}}
        Path(f"{name}.yaml").write_text(yaml.safe_dump(over))
    run_sweep.main([SWEEP, "--config", "config.yaml", "one.yaml", "two.yaml", "--dry-run"])
    for value in ("0.0", "0.5", "0.9"):
        text = (FOLDER / value / "config.yaml").read_text()
        assert text.startswith(
            f"# Written by run_sweep from config.yaml and one.yaml and two.yaml and {SWEEP}: "
        )
        config = yaml.safe_load(text)
        assert config["training_seeds"] == [7, 8]
        assert config["recipes"]["cpu-tiny"]["steps"] == 20
        assert config["eval_sets"]["openmoji-val"]["seed"] == 5
        assert config["eval_sets"]["openmoji-val"]["images_per_class"] == 50  # the sweep's own


def test_the_first_failure_ends_the_sweep_and_the_next_call_goes_on(
    snakemake: FakeSnakemake, caplog: pytest.LogCaptureFixture
) -> None:
    snakemake.exit_codes = [0, 5]
    with pytest.raises(SystemExit) as caught:
        run_sweep.main([SWEEP])
    assert caught.value.code == 5
    assert snakemake.folders == ["0.0", "0.5"]
    assert "dataset.context_bias = 0.5: Snakemake ended with exit code 5" in caplog.text
    assert "call run_sweep again" in caplog.text
    assert not (FOLDER / "scores.csv").exists()
    configs = sorted(FOLDER.glob("*/config.yaml"))
    for path in configs:
        os.utime(path, (1, 1))
    run_sweep.main([SWEEP])
    assert snakemake.folders[2:] == ["0.0", "0.5", "0.9"]
    assert (FOLDER / "scores.csv").exists()
    assert [path.stat().st_mtime for path in configs] == [1, 1, 1]


def test_nothing_is_written_or_started_if_one_value_is_refused(snakemake: FakeSnakemake) -> None:
    text = Path(SWEEP).read_text()
    Path(SWEEP).write_text(text.replace("[0.0, 0.5, 0.9]", "[0.0, 0.5, 9]"))
    with pytest.raises(CapsynthError, match=r"dataset\.context_bias: 9 is too large"):
        run_sweep.main([SWEEP])
    Path(SWEEP).write_text(text.replace("dataset.context_bias", "dataset.context_bais"))
    with pytest.raises(CapsynthError, match="did you mean 'context_bias'"):
        run_sweep.main([SWEEP])
    assert snakemake.calls == []
    assert not Path("results").exists()


def test_a_sweep_that_runs_already_is_not_started_again(snakemake: FakeSnakemake) -> None:
    lock = sweeps.take_lock(FOLDER / ".lock")
    try:
        with pytest.raises(CapsynthError, match="another run_sweep"):
            run_sweep.main([SWEEP])
    finally:
        os.close(lock)
    assert snakemake.calls == []


def test_some_lines_and_panels_can_be_drawn_again(snakemake: FakeSnakemake) -> None:
    run_sweep.main([SWEEP])
    flags = ["--scores", f"{FOLDER}/scores.csv", "--output", "bias.svg"]
    plot_sweep.main([*flags, "--training-sets", "real", "--eval-sets", "openmoji-val"])
    assert Path("bias.svg").stat().st_size < (FOLDER / "accuracy.svg").stat().st_size
    with pytest.raises(CapsynthError, match="unknown training set 'reel'; did you mean 'real'"):
        plot_sweep.main([*flags, "--training-sets", "reel"])


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize(
    ("target", "options"),
    [
        ("sweep-context-bias", ""),
        ("findings", "--config config.yaml config/findings.yaml "),
        ("findings-again", "--config config.yaml config/context-bias-again.yaml "),
    ],
)
def test_make_runs_the_sweep_beside_the_warm_server(
    repository: Path, target: str, options: str
) -> None:
    own = ("MAKEFLAGS", "MAKELEVEL", "VENV", "CORES", "PYTHONS", "PYTEST_ARGS")
    made = subprocess.run(
        ["make", "--dry-run", target, "CORES=3"],
        cwd=repository,
        env={name: value for name, value in os.environ.items() if name not in own},
        check=True,
        capture_output=True,
        text=True,
    )
    words = " ".join(made.stdout.replace("\\\n", " ").split())
    server, script = (
        "python workflow/scripts/warm.py serve --",
        "python workflow/scripts/run_sweep.py",
    )
    assert f"{server} {script} {SWEEP} {options}--cores 3" in words


@pytest.mark.parametrize("over", ["findings.yaml", "context-bias-again.yaml"])
def test_findings_ask_the_sweep_of_seven_training_seeds(repository: Path, over: str) -> None:
    base = sweeps.merge(
        read_yaml(repository / "config.yaml"), read_yaml(repository / "config" / over)
    )
    for run in sweeps.plan_runs(sweeps.read_sweep(repository / SWEEP), base):
        assert len(run.config["training_seeds"]) == 7
        assert run.config["recipes"]["cpu-tiny"]["steps"] == 400
        variants = run.config["variants"].values()
        seeds = {entry.get("seed", 0) for entry in variants}
        assert seeds == ({3} if over == "context-bias-again.yaml" else {0})

"""Sweeps: what is merged, what is refused, what is written, what is joined and drawn."""

import copy
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from capsynth import sweeps
from capsynth.configuration import complete, unused
from capsynth.errors import CapsynthError
from capsynth.reporting import sweep_figure
from capsynth.reporting.scores import Score, write_scores
from capsynth.sweeps import Sweep, SweepRun

ROOT = Path(__file__).resolve().parents[2]
BASE = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
SWEEPS = [
    path
    for path in sorted(ROOT.glob("config/*.yaml"))
    if "sweep" in yaml.safe_load(path.read_text(encoding="utf-8"))
]


def sweep(key: str = "dataset.context_bias", *values: Any, **overrides: Any) -> Sweep:
    return Sweep(Path("s.yaml"), key, values or (0.0, 0.5), overrides)


def names(key: str, *values: Any) -> list[str]:
    return [run.name for run in sweeps.plan_runs(sweep(key, *values), BASE)]


# ---- what is shipped ----------------------------------------------------------------------------


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.name)
def test_every_shipped_sweep_passes_and_names_nothing_in_vain(path: Path) -> None:
    for run in sweeps.plan_runs(sweeps.read_sweep(path), BASE):
        assert unused(complete(run.config)) == []


def test_the_context_bias_is_swept_and_one_evaluation_set_keeps_its_own() -> None:
    runs = sweeps.plan_runs(sweeps.read_sweep(ROOT / "config" / "context-bias.yaml"), BASE)
    assert [run.name for run in runs] == ["0.0", "0.5", "0.9"]
    for run, bias in zip(runs, (0.0, 0.5, 0.9), strict=True):
        config = complete(run.config)
        assert config["dataset"]["context_bias"] == bias
        biases = {name: e["context_bias"] for name, e in config["eval_sets"].items()}
        assert biases.pop("openmoji-unbiased") == 0.0
        assert set(biases) == set(BASE["eval_sets"])
        assert set(biases.values()) == {bias}
    unbiased, val = (config["eval_sets"][f"openmoji-{n}"] for n in ("unbiased", "val"))
    assert {**unbiased, "context_bias": bias} == val


# ---- merging, and the names of values -----------------------------------------------------------


def test_mappings_are_merged_and_lists_replaced() -> None:
    base = {"a": {"b": 1, "c": [1, 2]}, "d": {"e": 1}}
    change = {"a": {"c": [3], "f": {"g": 2}}, "d": 4}
    kept = copy.deepcopy((base, change))
    assert sweeps.merge(base, change) == {"a": {"b": 1, "c": [3], "f": {"g": 2}}, "d": 4}
    assert (base, change) == kept


def test_a_value_changes_its_key_and_nothing_else_even_if_yaml_shares_the_mapping() -> None:
    shared = {"model": "test_resnet", "epochs": 3}
    base = {**BASE, "recipes": {"one": shared, "two": shared}}
    for run in sweeps.plan_runs(sweep("recipes.one.epochs", 1, 2), base):
        recipes = run.config["recipes"]
        assert recipes == {"one": {**shared, "epochs": int(run.name)}, "two": shared}
        assert {**run.config, "recipes": base["recipes"]} == base


def test_values_are_named_as_yaml_writes_them() -> None:
    assert names("dataset.context_bias", 0.0, 0.5, 1) == ["0.0", "0.5", "1.0"]
    assert names("dataset.seed", 3, 10.0) == ["3", "10"]
    assert names("recipes.cpu-tiny.learning_rate", 1e-3, 1e-5) == ["0.001", "1e-05"]
    assert names("recipes.cpu-tiny.optimizer", "sgd", "adamw") == ["sgd", "adamw"]
    assert sweeps.value_name(True) == "true"


def test_names_with_dots_are_found_in_a_key() -> None:
    config = {"generators": {"sd": {"5": {"x": 1}}, "sd1.5": {"steps": 1}, "sd1": {"steps": 2}}}
    assert sweeps.find_key(config, "generators.sd1.5.steps") == ("generators", "sd1.5", "steps")
    assert sweeps.find_key(config, "generators.sd1.steps") == ("generators", "sd1", "steps")


# ---- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (
            "dataset.context_bais",
            "key of dataset in sweep.key 'context_bais'; did you mean 'context_",
        ),
        ("datasets.seed", "key in sweep.key 'datasets'; did you mean 'dataset'"),
        ("recipes.cpu.epochs", "key of recipes in sweep.key 'cpu'; did you mean 'cpu-tiny'"),
        ("dataset.seed.low", "dataset.seed has no keys of its own; use 'dataset.seed'"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_one(key: str, message: str) -> None:
    with pytest.raises(CapsynthError) as caught:
        sweeps.plan_runs(sweep(key), BASE)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (sweep("dataset.context_bias", 0.5, 1.5), "context_bias = 1.5: .*1.5 is too large; use at"),
        (sweep("dataset", 1), "dataset = 1: .*expected a mapping"),
        (sweep(eval_sets={"val": {"split": "val"}}), "config: .*eval_sets.val.source is missing"),
        (sweep("dataset.context_bias", 0, 0.0), "0.0 is given twice; remove one"),
        (sweep("training_seeds", [0], [1]), "cannot name a folder; sweep numbers"),
        (sweep("captioners.embedded.model", "a/b"), "'a/b' cannot name a folder"),
        (sweep("captioners.embedded.model", ".."), "'..' cannot name a folder"),
    ],
)  # fmt: skip
def test_what_cannot_be_run_is_refused_before_anything_runs(asked: Sweep, message: str) -> None:
    with pytest.raises(CapsynthError, match=r"(?s)" + message):
        sweeps.plan_runs(asked, BASE)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sweep: {key: a, values: [1]}\nconfg: {}", "'confg'; did you mean 'config'"),
        ("sweep: {key: a, value: [1]}", "key of sweep in .*'value'; did you mean 'values'"),
        ("config: {}", "sweep needs the keys key and values"),
        ("[1]", "the file needs the keys sweep and config"),
        ("sweep: {values: [1]}", "sweep.key names no key"),
        ("sweep: {key: a, values: 1}", "sweep.values is no list"),
        ("sweep: {key: a, values: []}", "sweep.values is no list"),
        ("sweep: {key: a, values: [1]}\nconfig: [1]", "config is no mapping"),
        ("a: [", "is no YAML"),
        (None, "cannot be read"),
    ],
)
def test_a_file_that_is_no_sweep_is_refused(text: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(CapsynthError, match=message):
        sweeps.read_sweep(path)


# ---- what is written ----------------------------------------------------------------------------


def test_a_written_config_is_the_config_with_its_folders_seen_from_where_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # A link, as results/ may be: what is above its target is not what is above it.
    (tmp_path / "disk" / "far" / "away").mkdir(parents=True)
    (tmp_path / "results").symlink_to("disk/far/away")
    (tmp_path / "photos").mkdir()
    config: dict[str, dict[str, Any]] = {
        "dataset": {"source": "folder", "path": "photos", "classes": "classes.txt"},
        "eval_sets": {
            "val": {"path": "photos", "class_map": "map.csv", "groups": "groups.csv"},
            "mixture": {"path": ["photos", "/photos"], "classes": "imagenette"},
            "hub": {"source": "huggingface", "path": "uoft-cs/cifar10"},
            "drawn": {"source": "openmoji", "groups": "context", "seed": 1},
        },
        "recipes": {"a": {"learning_rate": 1e-5}},
    }
    folder = Path("results/sweeps/s/1")
    folder.mkdir(parents=True)
    text = sweeps.config_text(SweepRun("1", config), folder, [Path("c.yaml"), Path("s.yaml")])
    assert text.startswith("# Written by run_sweep from c.yaml and s.yaml: ")
    read = yaml.safe_load(text)
    up = "../../.."  # three folders of the link's target, three of the sweep
    dataset = {"source": "folder", "path": f"{up}/{up}/photos", "classes": f"{up}/{up}/classes.txt"}
    assert read["dataset"] == dataset
    assert (folder / dataset["path"]).samefile("photos")
    assert read["eval_sets"] == {
        "val": {
            "path": f"{up}/{up}/photos",
            "class_map": f"{up}/{up}/map.csv",
            "groups": f"{up}/{up}/groups.csv",
        },
        "mixture": {"path": [f"{up}/{up}/photos", "/photos"], "classes": "imagenette"},
        "hub": config["eval_sets"]["hub"],
        "drawn": config["eval_sets"]["drawn"],
    }
    assert read["recipes"] == config["recipes"]
    assert config["dataset"]["path"] == "photos"


# ---- commands -----------------------------------------------------------------------------------


def test_a_lock_is_held_by_the_command_that_shares_it(tmp_path: Path) -> None:
    path = tmp_path / "sweep" / ".lock"
    lock = sweeps.take_lock(path)
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=(lock,)) as command:
        os.close(lock)
        with pytest.raises(CapsynthError, match="works there; wait for it"):
            sweeps.take_lock(path)
        command.communicate()
    os.close(sweeps.take_lock(path))


def test_a_command_shares_the_lock_and_gives_its_exit_code(tmp_path: Path) -> None:
    lock = sweeps.take_lock(tmp_path / ".lock")
    before = signal.getsignal(signal.SIGTERM)
    try:
        has_lock = f"import os; os.fstat({lock})"
        assert sweeps.run_command([sys.executable, "-c", has_lock], lock) == 0
        assert sweeps.run_command(["sh", "-c", "exit 7"], lock) == 7
        assert sweeps.run_command(["sh", "-c", "kill -KILL $$"], lock) == 128 + signal.SIGKILL
        with pytest.raises(CapsynthError, match="no-such-tool cannot be run"):
            sweeps.run_command(["no-such-tool"], lock)
    finally:
        signal.signal(signal.SIGTERM, before)
        os.close(lock)


def test_a_command_is_ended_and_waited_for_when_the_sweep_is_ended(tmp_path: Path) -> None:
    command = (
        "import os, signal\n"
        "def end(*_):\n"
        "    open('ended', 'w').close()\n"
        "    raise SystemExit(3)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "signal.alarm(60)\n"
        "os.kill(os.getppid(), signal.SIGTERM)\n"
        "signal.pause()\n"
    )
    sweeping = (
        "import sys\n"
        "from pathlib import Path\n"
        "from capsynth.sweeps import run_command, take_lock\n"
        f"command = [sys.executable, '-c', {command!r}]\n"
        "sys.exit(run_command(command, take_lock(Path('.lock'))))\n"
    )
    library = str(ROOT / "workflow" / "scripts")
    done = subprocess.run(
        [sys.executable, "-c", sweeping],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": library},
    )
    assert done.returncode == 3
    assert (tmp_path / "ended").exists()


# ---- joined scores and their figure -------------------------------------------------------------


def scores(bias: float, eval_sets: tuple[str, ...] = ("val", "unbiased")) -> list[Score]:
    rows = []
    for training_set, carried in (("real", 1.0), ("class-name", 0.0), ("caption", 0.8)):
        for eval_set in eval_sets:
            sign = 0.1 if eval_set == "val" else -0.3
            value = {"real": 0.8, "class-name": 0.5, "caption": 0.7}[training_set]
            value += sign * bias * carried
            for seed in (None, 0, 1):
                for metric in ("top1", "top1/bat"):
                    names = ("toy", training_set, "tiny", seed, eval_set, metric)
                    rows.append(Score(*names, value, value - 0.03, value + 0.02, 50))
    rows.append(Score("toy", "caption - real", "tiny", None, "val", "top1", 0.1, 0.0, 0.2, 50))
    rows.append(Score("toy", "caption - real", "tiny", None, "val", "p_value", 0.1, None, None, 5))
    return rows


def joined(folder: Path, *biases: float, key: str = "dataset.context_bias") -> Path:
    runs = []
    for bias in biases or (0.0, 0.5, 0.9):
        path = folder / f"{bias}" / "scores.csv"
        write_scores(path, scores(bias))
        runs.append((f"{bias}", path))
    sweeps.join_scores(key, runs, folder / "scores.csv")
    return folder / "scores.csv"


def test_joined_scores_are_the_rows_of_the_runs_in_their_order_with_the_value_in_front(
    tmp_path: Path,
) -> None:
    lines = joined(tmp_path, 0.9, 0.0).read_text().splitlines()
    first, second = (
        (tmp_path / f"{bias}" / "scores.csv").read_text().splitlines() for bias in (0.9, 0.0)
    )
    assert lines[0] == f"context_bias,{first[0]}"
    assert lines[1:] == [
        *(f"0.9,{row}" for row in first[1:]),
        *(f"0.0,{row}" for row in second[1:]),
    ]


def test_a_swept_seed_is_not_taken_for_the_training_seed(tmp_path: Path) -> None:
    head = joined(tmp_path, key="dataset.seed").read_text().splitlines()[0]
    assert head.startswith("dataset.seed,dataset,training_set,recipe,seed,")


def test_missing_scores_and_other_columns_are_refused_and_nothing_is_written(
    tmp_path: Path,
) -> None:
    output, other = tmp_path / "joined.csv", tmp_path / "other.csv"
    path = joined(tmp_path)
    other.write_text("a,b\n1,2\n")
    with pytest.raises(CapsynthError, match=r"absent\.csv does not exist; call run_sweep again"):
        sweeps.join_scores("k", [("1", path), ("2", tmp_path / "absent.csv")], output)
    with pytest.raises(CapsynthError, match=r"other\.csv: has columns \['a', 'b'\]"):
        sweeps.join_scores("k", [("1", path), ("2", other)], output)
    assert not output.exists()


def test_the_figure_shows_means_over_seeds_with_their_intervals(tmp_path: Path) -> None:
    read = sweep_figure.read_sweep_scores(joined(tmp_path))
    assert read.column == "context_bias"
    assert len(read.points) == 3 * 3 * 2
    point = next(p for p in read.points if (p.swept, p.eval_set) == ("0.9", "unbiased"))
    assert (point.training_set, point.value, point.low, point.high) == ("real", 0.53, 0.5, 0.55)


def test_one_panel_an_evaluation_set_and_one_line_a_training_set(tmp_path: Path) -> None:
    read = sweep_figure.read_sweep_scores(joined(tmp_path, 0.9, 0.0, 0.5))
    figure = sweep_figure._figure(read, ["caption", "real"], ["unbiased", "val"])
    assert [axes.get_title() for axes in figure.axes] == ["unbiased", "val"]
    for axes in figure.axes:
        assert [label.get_text() for label in axes.get_xticklabels()] == ["0.9", "0.0", "0.5"]
        caption, real = (container.lines[0] for container in axes.containers)
        for place, line in ((-1, caption), (1, real)):
            moved = [x - value for x, value in zip(line.get_xdata(), (0.0, 0.5, 0.9), strict=True)]
            assert moved == pytest.approx([place * 0.4 * sweep_figure.SPREAD / 2] * 3)
    assert list(figure.axes[0].containers[1].lines[0].get_ydata()) == [0.8, 0.65, 0.53]


def test_the_figure_of_a_sweep_has_a_line_of_chance_and_grey_points_at_it(tmp_path: Path) -> None:
    path = joined(tmp_path)
    names = path.read_text().splitlines()[0].split(",")
    place = {name: names.index(name) for name in names}
    example = next(line for line in path.read_text().splitlines() if ",unbiased,top1," in line)
    rows = []
    for class_id, n in (("bat", 7), ("car", 3)):
        row = example.split(",")
        row[place["metric"]], row[place["n"]] = f"top1/{class_id}", str(n)
        rows.append(",".join(row))
    path.write_text(path.read_text() + "".join(f"{row}\n" for row in rows))
    read = sweep_figure.read_sweep_scores(path)
    assert read.chance["unbiased"] == pytest.approx(0.7)
    figure = sweep_figure._figure(read, ["real"], ["unbiased"])
    axes = figure.axes[0]
    assert [0.7, 0.7] in [list(line.get_ydata()) for line in axes.lines]
    # Of 0.8, 0.65 and 0.53 with bounds of a few points, two reach 70 %.
    assert len(axes.collections[-1].get_offsets()) == 2


def test_values_that_are_no_numbers_stand_in_their_order() -> None:
    assert sweep_figure.places(["sgd", "adamw", "sgd"]) == {"sgd": 0.0, "adamw": 1.0}
    assert sweep_figure.places(["1", "10"]) == {"1": 1.0, "10": 10.0}
    assert sweep_figure.places(["nan", "1"]) == {"nan": 0.0, "1": 1.0}


def test_the_figure_is_written_as_the_same_bytes(tmp_path: Path) -> None:
    read = sweep_figure.read_sweep_scores(joined(tmp_path))
    for name in ("first", "second"):
        paths = [tmp_path / f"{name}.png", tmp_path / f"{name}.svg"]
        sweep_figure.plot_sweep(read, None, None, paths)
    for suffix in ("png", "svg"):
        first, second = (tmp_path / f"{name}.{suffix}" for name in ("first", "second"))
        assert first.read_bytes() == second.read_bytes()


def test_figures_of_unknown_names_or_of_other_files_are_refused(tmp_path: Path) -> None:
    path = joined(tmp_path)
    read = sweep_figure.read_sweep_scores(path)
    with pytest.raises(CapsynthError, match="training set 'captoin'; did you mean 'caption'"):
        sweep_figure.plot_sweep(read, ["captoin"], None, [tmp_path / "x.png"])
    with pytest.raises(CapsynthError, match="evaluation set 'vall'; did you mean 'val'"):
        sweep_figure.plot_sweep(read, None, ["vall"], [tmp_path / "x.png"])
    with pytest.raises(CapsynthError, match="no top-1 accuracy"):
        sweep_figure.plot_sweep(sweep_figure.SweepScores("x", ()), None, None, [tmp_path / "x.png"])
    with pytest.raises(CapsynthError, match="has columns"):
        sweep_figure.read_sweep_scores(tmp_path / "0.0" / "scores.csv")
    with pytest.raises(CapsynthError, match=r"absent\.csv does not exist"):
        sweep_figure.read_sweep_scores(tmp_path / "absent.csv")
    path.write_text(path.read_text().replace("0.53", "many"))
    with pytest.raises(CapsynthError, match=r"scores.csv:\d+: .*'many'; call run_sweep again"):
        sweep_figure.read_sweep_scores(path)
    assert not (tmp_path / "x.png").exists()

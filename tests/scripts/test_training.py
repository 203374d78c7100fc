"""Training: resumption at every step, several processes, recipes; evaluation on some classes."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from trainings import CLASS_IDS, IMAGES, RICH, SMALL, STEPS, command, evaluate, run_together

import evaluate_classifier
import train_classifier
from capsynth import training_loop
from capsynth.classifiers import load_classifier
from capsynth.configuration import complete_recipe
from capsynth.distributed import Processes
from capsynth.errors import CapsynthError
from capsynth.files import dump_json, read_json
from capsynth.fingerprints import files_digest, fingerprint
from capsynth.learner import Learner
from capsynth.predictions import read_predictions
from capsynth.privacy import references
from capsynth.recipes import NEUTRAL, NORMALISATIONS, Recipe
from capsynth.settings import settings_from_json
from capsynth.shards import ShardRecord


@pytest.fixture(scope="module")
def shards(
    tmp_path_factory: pytest.TempPathFactory,
    draw_folder: Callable[..., Path],
    pack_folder: Callable[..., object],
) -> Path:
    """A folder with the shards of three classes."""
    root = tmp_path_factory.mktemp("real")
    for index, class_id in enumerate(CLASS_IDS):
        folder = draw_folder(root / "source" / class_id, IMAGES, 20 * index)
        pack_folder(folder, root / "real", index)
    return root / "real"


def train(shards: Path, checkpoint: Path, class_ids: list[str] = CLASS_IDS, **values: Any) -> Path:
    train_classifier.main(command(shards, checkpoint, {**SMALL, **values}, class_ids))
    return checkpoint


class Stopped(Exception):
    """Stands for a kill."""


def train_and_kill(steps: int, shards: Path, checkpoint: Path, **values: Any) -> None:
    """End a training when it has made ``steps`` steps."""
    learn, made = Learner.learn, 0

    def limited(*args: Any) -> torch.Tensor:
        nonlocal made
        if made == steps:
            raise Stopped
        made += 1
        return learn(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Learner, "learn", limited)
        with pytest.raises(Stopped):
            train(shards, checkpoint, **values)


# ---- resumption ---------------------------------------------------------------------------------


@pytest.mark.parametrize("values", [RICH, {**SMALL, "model": "test_resnet", "save_steps": 1}])
def test_a_training_killed_after_any_step_ends_in_the_same_bytes(
    tmp_path: Path, shards: Path, values: dict[str, Any]
) -> None:
    whole = train(shards, tmp_path / "whole.safetensors", **values)
    for steps in range(2 * STEPS):
        again = tmp_path / f"killed-{steps}.safetensors"
        train_and_kill(steps, shards, again, **values)
        assert not again.exists()
        train(shards, again, **values)
        for suffix in (".safetensors", ".json"):
            assert again.with_suffix(suffix).read_bytes() == whole.with_suffix(suffix).read_bytes()


def test_a_resumed_training_makes_only_the_steps_that_were_not_saved(
    tmp_path: Path, shards: Path
) -> None:
    checkpoint = tmp_path / "c.safetensors"
    values = {"batch_size": 2, "save_steps": 2}  # 5 steps an epoch
    train_and_kill(3, shards, checkpoint, epochs=1, **values)
    train_and_kill(9, shards, checkpoint, epochs=2, **values)  # another recipe: from the start
    train_and_kill(1, shards, checkpoint, epochs=2, **values)  # step 9 of 10, the first one left
    train(shards, checkpoint, epochs=2, **values)
    assert read_json(checkpoint.with_suffix(".json"))["steps"] == 10


def test_a_slower_copy_goes_on_from_the_newest_state_and_does_not_put_its_own_over_it(
    tmp_path: Path, shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {"batch_size": 2, "save_steps": 1, "epochs": 1}  # 5 steps
    whole = train(shards, tmp_path / "whole.safetensors", **values)
    train_and_kill(4, shards, tmp_path / "fast.safetensors", **values)
    (ahead,) = (tmp_path / ".fast.safetensors.partial").glob("*/000004.safetensors")
    slow = tmp_path / "slow.safetensors"
    learn, save, made = Learner.learn, training_loop.save_state, []

    def noted(learner: Learner, *args: Any) -> torch.Tensor:
        made.append(args[-1])
        return learn(learner, *args)

    def overtaken(path: Path, *args: Any) -> None:
        if (
            path.name == "000002.safetensors"
        ):  # just when the slower copy has looked for a newer one
            shutil.copy(ahead, path.with_name(ahead.name))
        save(path, *args)

    monkeypatch.setattr(Learner, "learn", noted)
    monkeypatch.setattr(training_loop, "save_state", overtaken)
    train(shards, slow, **values)
    assert made == [0, 1, 4]
    for suffix in (".safetensors", ".json"):
        assert slow.with_suffix(suffix).read_bytes() == whole.with_suffix(suffix).read_bytes()


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_do_not_change_the_result(tmp_path: Path, shards: Path, workers: int) -> None:
    alone = train(shards, tmp_path / "alone.safetensors", **RICH)
    helped = train(shards, tmp_path / "helped.safetensors", **RICH, workers=workers)
    assert helped.read_bytes() == alone.read_bytes()


# ---- recipes ------------------------------------------------------------------------------------


def test_training_sets_of_two_sizes_make_the_same_number_of_steps(
    tmp_path: Path, shards: Path
) -> None:
    large = train(shards, tmp_path / "large.safetensors", steps=7)
    small = train(shards, tmp_path / "small.safetensors", ["bat"], steps=7)
    histories = [read_json(path.with_suffix(".json")) for path in (large, small)]
    assert [h["steps"] for h in histories] == [7, 7]
    assert [h["images"] for h in histories] == [9, 3]
    # 3 steps an epoch, the third one cut short; one step an epoch.
    assert [len(h["epochs"]) for h in histories] == [3, 7]


@pytest.mark.parametrize("name", ["paper-subset", "vit-b16", "timm-a3"])
def test_a_preset_trains_at_a_small_size(tmp_path: Path, shards: Path, name: str) -> None:
    values = {"base": name, "epochs": 1, "steps": 3, "batch_size": 4, "image_size": 32}
    model = "test_vit" if name == "vit-b16" else "test_resnet"
    values |= {"model": model, "amp": "off", "warmup_epochs": 0}
    if name == "paper-subset":
        values |= {"epochs": 4, "milestones": [1, 2]}
    if name == "timm-a3":
        values["eval_image_size"] = 48
    checkpoint = tmp_path / "c.safetensors"
    train_classifier.main(command(shards, checkpoint, values))
    _, card = load_classifier(checkpoint)
    assert card.preprocessing.size == (48 if name == "timm-a3" else 32)


def test_bfloat16_trains_on_the_processor_and_saves_float32(tmp_path: Path, shards: Path) -> None:
    plain = load_file(train(shards, tmp_path / "a.safetensors"))
    half = load_file(train(shards, tmp_path / "b.safetensors", amp="bfloat16"))
    assert {tensor.dtype for tensor in half.values()} == {torch.float32}
    assert any(not torch.equal(half[name], tensor) for name, tensor in plain.items())
    assert all(torch.allclose(half[name], tensor, atol=0.05) for name, tensor in plain.items())


def test_what_is_saved_is_the_moving_average_of_the_weights(shards: Path) -> None:
    recipe = settings_from_json(Recipe, dump_json(complete_recipe({**SMALL, "ema_decay": 0.5})))
    learner = Learner(recipe, 3, 0, Processes(0, 1, torch.device("cpu")))
    batch = (torch.arange(4 * 3 * 32 * 32).view(4, 3, 32, 32) % 251, [0, 1, 2, 0], [])
    weights = []
    for step in range(3):
        learner.learn((batch[0].to(torch.uint8), *batch[1:]), 4, 0.1, step)
        weights.append(learner.model.state_dict()["head.weight"].clone())
    # timm's warm-up: the first step is copied, the decay then grows to the one asked for.
    second = 1 - 2 ** (-2 / 3)
    average = weights[0] * second + weights[1] * (1 - second)
    average = average * 0.5 + weights[2] * 0.5
    assert torch.allclose(learner.result.state_dict()["head.weight"], average, atol=1e-6)
    assert not torch.allclose(average, weights[2], atol=1e-6)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"optimizer": "adamwt"}, "unknown recipe optimizer 'adamwt'; did you mean 'adamw"),
        ({"optimizer": "adahessian"}, "'adahessian' needs second derivatives"),
        ({"optimizer": "fusedlamb"}, "'fusedlamb' cannot run here"),
        ({"amp": "float16"}, "float16 needs a GPU; without one write bfloat16 or off"),
        ({"gpus": 2}, "asks for 2 processes and 1 run; start the script with torchrun"),
        ({"eval_image_size": 48}, "'test_vit' takes images of one size only"),
        ({"model": "test_mambaout", "dropout": 0.1, "image_size": 2 * 16}, None),
    ],
)
def test_a_recipe_that_cannot_be_followed_is_refused(
    tmp_path: Path, shards: Path, values: dict[str, Any], message: str | None
) -> None:
    if message is None:  # a model that takes everything is not refused
        train(shards, tmp_path / "c.safetensors", **values, epochs=1)
        return
    with pytest.raises(CapsynthError, match=message):
        train(shards, tmp_path / "c.safetensors", **values)


def test_a_training_that_diverges_says_so(tmp_path: Path, shards: Path) -> None:
    with pytest.raises(CapsynthError, match=r"diverged in epoch \d+: .*lower the learning_rate"):
        train(shards, tmp_path / "c.safetensors", model="test_resnet", learning_rate=100, epochs=60)
    assert not (tmp_path / "c.safetensors").exists()


# ---- evaluation ---------------------------------------------------------------------------------


def test_masked_answers_are_those_of_the_classes_that_may_be_answered(
    tmp_path: Path, shards: Path
) -> None:
    checkpoint = train(shards, tmp_path / "c.safetensors")
    full = evaluate(checkpoint, shards / "dog-0", tmp_path / "full.parquet")
    masked = evaluate(checkpoint, shards / "dog-0", tmp_path / "masked.parquet", "bat", "dog")
    assert masked.class_ids == ("bat", "dog")
    assert full.target.tolist() == [2, 2, 2]
    assert masked.target.tolist() == [1, 1, 1]
    kept = full.probabilities[:, [0, 2]]
    assert np.allclose(masked.probabilities, kept / kept.sum(axis=1, keepdims=True), atol=1e-6)


@pytest.mark.parametrize(
    ("class_ids", "message"),
    [
        (["bat", "car"], "is of class 'dog', which --class-ids leaves out"),
        (["dog", "bat"], "name each class once, in the order of the classifier"),
        (["bat", "cow", "dog"], "does not know the classes cow"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(
    tmp_path: Path, shards: Path, class_ids: list[str], message: str
) -> None:
    checkpoint = train(shards, tmp_path / "c.safetensors", epochs=1)
    with pytest.raises(CapsynthError, match=message):
        evaluate(checkpoint, shards / "dog-0", tmp_path / "p.parquet", *class_ids)


def test_how_images_are_prepared_is_read_from_the_checkpoint(
    tmp_path: Path, shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import timm

    values = {"normalisation": "clip", "eval_resize": "squash", "interpolation": "bicubic"}
    checkpoint = train(shards, tmp_path / "c.safetensors", epochs=1, **values)
    before = evaluate(checkpoint, shards / "dog-0", tmp_path / "a.parquet")
    # Another version of a library, or of this project, has other numbers under the same names.
    monkeypatch.setitem(NORMALISATIONS, "clip", ((0.0,) * 3, (1.0,) * 3))
    config = timm.get_pretrained_cfg("test_vit")
    monkeypatch.setattr(config, "mean", (0.0,) * 3)
    monkeypatch.setattr(config, "crop_pct", 0.1)
    monkeypatch.setattr(config, "interpolation", "nearest")
    after = evaluate(checkpoint, shards / "dog-0", tmp_path / "b.parquet")
    assert np.array_equal(before.probabilities, after.probabilities)
    _, card = load_classifier(checkpoint)
    assert card.preprocessing.mean == (0.48145466, 0.4578275, 0.40821073)


# ---- several processes --------------------------------------------------------------------------


@pytest.mark.parametrize("gpus", [1, 2])
def test_the_recipe_says_how_many_processes_train_and_not_the_shell(
    gpus: int, tmp_path: Path, shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Left by another job: nobody listens there, and nobody else will come.
    left = {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"}
    for name, value in {**left, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    path = tmp_path / "one.safetensors"
    if gpus == 1:
        assert train(shards, path)
    else:
        with pytest.raises(CapsynthError, match="asks for 2 processes and 1 run"):
            train(shards, path, gpus=2)


def test_two_processes_learn_what_one_does_and_resume(tmp_path: Path, shards: Path) -> None:
    # Without batch norm the gradients are the same up to the order of additions, the single image
    # of the last step included.
    one = load_file(train(shards, tmp_path / "one.safetensors", save_steps=2))
    together = {**SMALL, "gpus": 2, "save_steps": 2}
    two = tmp_path / "two.safetensors"
    assert run_together(command(shards, two, together), 2) == [0, 0]
    assert all(torch.allclose(load_file(two)[k], one[k], atol=1e-5) for k in one)
    losses = [
        [epoch["loss"] for epoch in read_json(tmp_path / f"{name}.json")["epochs"]]
        for name in ("one", "two")
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)

    killed = tmp_path / "killed.safetensors"
    stop = (
        "from capsynth import training_loop\n"
        "save = training_loop.save_state\n"
        "def save_once(*args):\n"
        "    training_loop.save_state = lambda *args: os._exit(9)\n"
        "    save(*args)\n"
        "training_loop.save_state = save_once"
    )
    codes = run_together(command(shards, killed, together), 2, stop)
    assert codes[0] == 9
    assert codes[1] not in (0, None)
    assert not killed.exists()
    assert run_together(command(shards, killed, together), 2) == [0, 0]
    for suffix in (".safetensors", ".json"):
        assert killed.with_suffix(suffix).read_bytes() == two.with_suffix(suffix).read_bytes()


@pytest.mark.slow
def test_torchrun_trains_and_ends_with_the_process_that_fails(
    tmp_path: Path, shards: Path, repository: Path
) -> None:
    broken = tmp_path / "real"
    broken.mkdir()
    for path in shards.iterdir():
        (broken / path.name).write_bytes(path.read_bytes())
    (broken / "dog-0.tar").write_bytes((shards / "dog-0.tar").read_bytes()[:1024])
    script = str(repository / "workflow/scripts/train_classifier.py")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    launcher += ["--nproc-per-node", "2", script]
    values = {**SMALL, "model": "test_resnet", "gpus": 2}
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for folder, works in ((broken, False), (shards, True)):
        checkpoint = tmp_path / f"{works}.safetensors"
        line = [*launcher, *command(folder, checkpoint, values)]
        done = subprocess.run(line, env=environment, capture_output=True, text=True)
        assert (done.returncode == 0) is works, done.stderr[-3000:]
        assert checkpoint.exists() is works
        assert ("ends inside" in done.stderr) is not works


# ---- reference models: halves -------------------------------------------------------------------


def train_half(shards: Path, checkpoint: Path, half: int, **values: Any) -> dict[str, Any]:
    line = command(shards, checkpoint, {**SMALL, **values})
    place = line.index("--seed")
    line[place : place + 2] = ["--half", str(half)]
    train_classifier.main(line)
    history: dict[str, Any] = read_json(checkpoint.with_suffix(".json"))
    return history


def test_halves_of_a_pair_share_the_images_and_make_the_steps_of_all(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = read_json(train(shards, tmp_path / "all.safetensors").with_suffix(".json"))
    seen: dict[int, set[str]] = {}
    learn = Learner.learn
    for half in range(4):
        keys = seen.setdefault(half, set())

        def noted(self: Any, batch: Any, *rest: Any, keys: set[str] = keys) -> torch.Tensor:
            keys.update(batch[2])
            return learn(self, batch, *rest)

        with monkeypatch.context() as patch:
            patch.setattr(Learner, "learn", noted)
            history = train_half(shards, tmp_path / f"half{half}.safetensors", half)
        assert history["steps"] == whole["steps"] == 2 * STEPS
        assert history["images"] == len(seen[half])
        assert (history["half"], history["seed"]) == (half, references.reference_seed(half))
    every = {
        f"{class_id}_{20 * i + n:06d}" for i, class_id in enumerate(CLASS_IDS) for n in range(3)
    }
    for first, second in ((0, 1), (2, 3)):
        assert seen[first] | seen[second] == every
        assert not seen[first] & seen[second]
    assert seen[0] not in (seen[2], seen[3])


def test_a_synthetic_image_is_in_the_half_of_its_source() -> None:
    names = ("key", "class_id", "class_index", "index", "status", "fingerprint", "source_key")
    real, drawn, alone = (
        ShardRecord(**dict(zip(names, (key, "bat", 0, 0, "ok", "f", source), strict=True)))
        for key, source in (("a", None), ("b", "a"), ("b", None))
    )
    assert references.reference_source(drawn) == references.reference_source(real) == ("bat", "a")
    assert references.reference_source(alone) == ("bat", "b")


def test_a_training_on_all_images_says_nothing_of_halves(shards: Path, tmp_path: Path) -> None:
    checkpoint = train(shards, tmp_path / "all.safetensors")
    history = read_json(checkpoint.with_suffix(".json"))
    assert set(history) == {
        *("checkpoint_sha256", "epochs", "fingerprint", "images", "seed", "steps"),
    }
    # What the fingerprint was before there were halves.
    recipe = settings_from_json(Recipe, dump_json(complete_recipe(SMALL)))
    values = {k: v for k, v in asdict(recipe).items() if k not in NEUTRAL}
    manifests = [shards / f"{class_id}-0.jsonl" for class_id in CLASS_IDS]
    marks = (values, CLASS_IDS, 0, files_digest(manifests), [1.0] * len(CLASS_IDS))
    assert history["fingerprint"] == fingerprint(*marks)


def test_a_half_that_was_stopped_ends_in_the_same_bytes(shards: Path, tmp_path: Path) -> None:
    reference, checkpoint = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    train_half(shards, reference, 1)
    learn, made = Learner.learn, 0

    def limited(*args: Any) -> torch.Tensor:
        nonlocal made
        if made == 3:
            raise Stopped
        made += 1
        return learn(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Learner, "learn", limited)
        with pytest.raises(Stopped):
            train_half(shards, checkpoint, 1)
    train_half(shards, checkpoint, 1)
    assert checkpoint.read_bytes() == reference.read_bytes()


def test_a_training_is_of_a_seed_or_of_a_half(shards: Path, tmp_path: Path) -> None:
    line = command(shards, tmp_path / "a.safetensors", SMALL)
    with pytest.raises(SystemExit):
        train_classifier.main([*line, "--half", "0"])


# ---- several shards at once ---------------------------------------------------------------------


def test_predictions_of_several_shards_are_those_of_each(shards: Path, tmp_path: Path) -> None:
    checkpoint = train(shards, tmp_path / "all.safetensors")

    def answers(class_ids: list[str]) -> Any:
        output = tmp_path / f"{'-'.join(class_ids)}.parquet"
        tars = [str(shards / f"{class_id}-0.tar") for class_id in class_ids]
        words = tmp_path / "words.txt"
        manifests = [tar.replace(".tar", ".jsonl") for tar in tars]
        words.write_text("\n".join(["--tar", *tars, "--manifest", *manifests]) + "\n")
        name = {"dataset": "d", "training_set": "t", "recipe": "r", "seed": 0, "eval_set": "real"}
        evaluate_classifier.main(
            [
                *("--name", dump_json(name), "--checkpoint", str(checkpoint), f"@{words}"),
                *("--threads", "1", "--output", str(output)),
            ]
        )
        return read_predictions(output)

    together, alone = answers(CLASS_IDS), [answers([class_id]) for class_id in CLASS_IDS]
    assert together.keys.tolist() == [key for one in alone for key in one.keys.tolist()]
    np.testing.assert_allclose(
        together.probabilities, np.concatenate([a.probabilities for a in alone]), atol=1e-6
    )
    assert together.target.tolist() == [0] * 3 + [1] * 3 + [2] * 3


FULL_DISK = """
import sys
sys.path.insert(0, sys.argv.pop(1))
import train_classifier
from capsynth import training_loop

def no_space(*args):
    raise OSError("no space left")

training_loop.save_state = no_space
train_classifier.main(sys.argv[1:])
"""


def test_a_training_whose_state_cannot_be_saved_ends_though_workers_read_for_it(
    tmp_path: Path, shards: Path, repository: Path
) -> None:
    # Workers ignore SIGTERM, and Python waits for them: left over, they would keep the job alive.
    flags = command(shards, tmp_path / "a.safetensors", {**SMALL, "workers": 2})
    scripts = str(repository / "workflow/scripts")
    line = [sys.executable, "-c", FULL_DISK, scripts, *flags]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 1
    assert "no space left" in done.stderr

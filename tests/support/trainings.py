"""Small trainings: their settings, command lines, and several processes of one."""

import multiprocessing
import socket
from pathlib import Path
from typing import Any

import evaluate_classifier
from capsynth.configuration import complete_recipe
from capsynth.files import dump_json
from capsynth.predictions import read_predictions

CLASS_IDS = ["bat", "car", "dog"]
# 9 images in steps of 4: the last step of an epoch has one image.
IMAGES = 3
STEPS = 3
SMALL = {
    "model": "test_vit",
    "image_size": 32,
    "epochs": 2,
    "batch_size": 4,
    "optimizer": "momentum",
    "learning_rate": 0.01,
}
# Everything that has randomness or a state of its own.
RICH = {
    **SMALL,
    "optimizer": "lamb",
    "warmup_epochs": 1,
    "auto_augment": "rand-m6-mstd0.5-inc1",
    "color_jitter": 0.3,
    "random_erasing": 0.5,
    "mixup": 0.2,
    "cutmix": 1.0,
    "bce_loss": True,
    "drop_path": 0.2,
    "dropout": 0.2,
    "ema_decay": 0.9,
    "clip_grad": 1.0,
    "save_steps": 2,
}


def command(
    shards: Path, checkpoint: Path, values: dict[str, Any], class_ids: list[str] = CLASS_IDS
) -> list[str]:
    flags: dict[str, object] = {
        "recipe": dump_json(complete_recipe(values)),
        "class-ids": class_ids,
        "seed": 0,
        "folders": shards,
        "fractions": 1.0,
        "parts-per-class": 1,
        "threads": 1,
        "checkpoint": checkpoint,
        "history": checkpoint.with_suffix(".json"),
    }
    line: list[str] = []
    for name, value in flags.items():
        line += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
    return line


def evaluate(checkpoint: Path, shard: Path, output: Path, *class_ids: str) -> Any:
    name = {"dataset": "d", "training_set": "real", "recipe": "r", "seed": 0, "eval_set": "e"}
    line = ["--name", dump_json(name), "--checkpoint", str(checkpoint), "--threads", "1"]
    line += ["--tar", f"{shard}.tar", "--manifest", f"{shard}.jsonl", "--output", str(output)]
    evaluate_classifier.main(line + (["--class-ids", *class_ids] if class_ids else []))
    return read_predictions(output)


def run_together(line: list[str], count: int, first: str = "") -> list[int | None]:
    """Train in ``count`` processes as torchrun does; return their exit codes.

    They are forked from a server that has imported torch, and never made a gradient.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["capsynth.training", "timm", "timm.optim", "timm.utils"])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    processes = []
    for rank in range(count):
        place = {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(count),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "TORCHELASTIC_RUN_ID": "none",
        }
        code = (
            f"import os; os.environ.update({place!r})\n"
            f"{first}\nimport train_classifier; train_classifier.main({line!r})"
        )
        processes.append(context.Process(target=exec, args=(code, {})))
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    return [process.exitcode for process in processes]

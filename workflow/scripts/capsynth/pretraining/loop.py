"""A training loop of steps that logs, checkpoints and resumes."""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from capsynth.seeding import derive_seed
from capsynth.training_state import (
    load_optimizer_tensors,
    load_state,
    optimizer_tensors,
    save_state,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Schedule:
    """How long and how fast.

    Attributes:
        steps: Optimizer steps in all.
        batch_size: Images a step.
        learning_rate: Peak of the schedule, reached by a linear warm-up.
        warmup_steps: Steps of the linear warm-up.
        decay_share: Last part of the steps, over which the rate falls to zero as half a cosine;
            1 for all of them. Before it the rate is constant, so a training may be prolonged
            until its decay has begun.
        ema_decay: Decay a step of the moving average of the weights, 0 for none.
        seed: Seed of everything random in the training.
    """

    steps: int
    batch_size: int
    learning_rate: float
    warmup_steps: int
    decay_share: float
    ema_decay: float
    seed: int

    def rate(self, step: int) -> float:
        """Return the learning rate of ``step``, counted from 0."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        decay_start = max(self.warmup_steps, round(self.steps * (1 - self.decay_share)))
        done = max(0, step - decay_start) / max(1, self.steps - decay_start)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def batch_indices(n: int, batch_size: int, step: int, seed: int) -> npt.NDArray[np.int64]:
    """Return the images of ``step``: a new global shuffle every epoch, the rest of it dropped."""
    per_epoch = n // batch_size
    epoch, position = divmod(step, per_epoch)
    order = np.random.default_rng(derive_seed("epoch", seed, epoch)).permutation(n)
    return order[position * batch_size : (position + 1) * batch_size]


def train(
    model: nn.Module,
    schedule: Schedule,
    loss_of_step: Callable[[int, torch.Generator], Tensor],
    checkpoint: Path,
    *,
    log_every: int = 50,
    checkpoint_every_s: float = 120.0,
    weight_decay: float = 0.01,
) -> tuple[dict[str, Tensor], list[dict[str, float]]]:
    """Train ``model`` in place, from ``checkpoint`` if it exists.

    Args:
        model: The module whose parameters are trained.
        schedule: Steps, batch size, learning rate, seed.
        loss_of_step: Maps a step and a generator seeded for it to the loss.
        checkpoint: File of the training state, rewritten every ``checkpoint_every_s`` seconds.
        log_every: Steps between two log lines and two points of the loss curve.
        checkpoint_every_s: Seconds between two checkpoints.
        weight_decay: AdamW's decoupled weight decay.

    Returns:
        The averaged weights (the last ones without averaging), and the history: a list of
        ``step``, ``loss`` (mean since the last entry) and ``time_s`` (training time so far).
    """
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=schedule.learning_rate, weight_decay=weight_decay, betas=(0.9, 0.99)
    )
    average = {name: p.detach().clone() for name, p in model.named_parameters()}
    history: list[dict[str, float]] = []
    start, spent_s = 0, 0.0
    if checkpoint.exists():
        groups, value = load_state(checkpoint)
        model.load_state_dict(groups["model"])
        average = groups["average"]
        load_optimizer_tensors(optimizer, groups["optimizer"])
        start, spent_s, history = value["step"], value["time_s"], value["history"]
        log.info("resumed %s at step %d", checkpoint.name, start)

    def save(step: int) -> None:
        value = {"step": step, "time_s": spent_s + time.monotonic() - began, "history": history}
        groups = {
            "model": model.state_dict(),
            "average": average,
            "optimizer": optimizer_tensors(optimizer),
        }
        save_state(checkpoint, groups, value)

    model.train()
    began = saved = time.monotonic()
    losses: list[float] = []
    for step in range(start, schedule.steps):
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate(step)
        generator = torch.Generator().manual_seed(derive_seed("step", schedule.seed, step))
        loss = loss_of_step(step, generator)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        # A young average follows the weights closely: (1 + t) / (10 + t) until the decay is met.
        decay = min(schedule.ema_decay, (1 + step) / (10 + step))
        with torch.no_grad():
            parameters = dict(model.named_parameters())
            names = list(average)
            torch._foreach_lerp_(
                [average[n] for n in names], [parameters[n] for n in names], 1 - decay
            )
        losses.append(loss.item())
        if (step + 1) % log_every == 0 or step + 1 == schedule.steps:
            elapsed = spent_s + time.monotonic() - began
            entry = {"step": step + 1, "loss": float(np.mean(losses)), "time_s": round(elapsed, 1)}
            history.append(entry)
            losses = []
            log.info(
                "step %d/%d loss %.4f %.0f s", step + 1, schedule.steps, entry["loss"], elapsed
            )
        if time.monotonic() - saved > checkpoint_every_s:
            save(step + 1)
            saved = time.monotonic()
    save(schedule.steps)
    return average, history

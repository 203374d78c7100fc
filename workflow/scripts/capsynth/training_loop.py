"""The steps of a training: from the last saved state to the last step."""

import contextlib
import itertools
import math
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils.data import Sampler

from capsynth.datasets.batches import Batch, load_batches
from capsynth.datasets.images import ShardedImages
from capsynth.distributed import Processes
from capsynth.errors import CapsynthError, Stopped
from capsynth.learner import Learner
from capsynth.progress import Progress
from capsynth.recipes import Recipe, learning_rate
from capsynth.resuming import PartialWork
from capsynth.seeding import derive_seed
from capsynth.stopping import StopFlag, deferred_stop
from capsynth.training_accuracy import AccuracyOfImages
from capsynth.training_state import load_state, save_state

# After so many steps several processes ask one another whether one of them is to stop.
AGREE_STEPS = 10
# The state after step 12 is 000012.safetensors: the newest one counts, however late a slower copy
# of the training saves its own.
STATE = ".safetensors"


class StepBatches(Sampler[list[tuple[int, int]]]):
    """The images of every step as (epoch, position), those of one process.

    Every epoch has an order of its own; step b of it takes the images b * batch size and on, and
    of these process r of n takes every n-th, from the r-th. So an epoch shows every image once,
    with any number of processes; the last step of it may be smaller, and leave a process nothing.
    """

    def __init__(
        self, images: int, batch_size: int, seed: int, steps: range, rank: int, count: int
    ) -> None:
        """Plan ``steps`` for process ``rank`` of ``count``."""
        self._images, self._batch_size, self._seed = images, batch_size, seed
        self._steps, self._rank, self._count = steps, rank, count

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order: list[int] = []
        ordered = -1
        for step in self._steps:
            epoch, number = divmod(step, math.ceil(self._images / self._batch_size))
            if epoch != ordered:
                seed = derive_seed("order", self._seed, epoch)
                generator = torch.Generator().manual_seed(seed)
                order, ordered = torch.randperm(self._images, generator=generator).tolist(), epoch
            batch = order[number * self._batch_size : (number + 1) * self._batch_size]
            yield [(epoch, position) for position in batch[self._rank :: self._count]]

    def __len__(self) -> int:
        return len(self._steps)


def load_steps(
    images: ShardedImages, recipe: Recipe, seed: int, steps: range, processes: Processes
) -> Generator[Batch | None, None, None]:
    """Return this process's images, a batch a step; None where it has none: ``load_batches``."""
    batches = StepBatches(
        len(images), recipe.batch_size, seed, steps, processes.rank, processes.count
    )
    size = math.ceil(recipe.batch_size / processes.count)
    on_gpu = processes.device.type == "cuda"
    return load_batches(images, batches, size, recipe.workers, pin_memory=on_gpu)


@dataclass(frozen=True, eq=False)
class Schedule:
    """What a training does, step by step.

    Attributes:
        images: What it learns from.
        recipe: How.
        seed: Training seed.
        steps: Number of steps.
        held_out: Images on which accuracy is measured on the way; None for no learning curve.
        curve_steps: Numbers of steps after which it is measured.
    """

    images: ShardedImages
    recipe: Recipe
    seed: int
    steps: int
    held_out: AccuracyOfImages | None = None
    curve_steps: frozenset[int] = frozenset()

    @property
    def steps_per_epoch(self) -> int:
        """Steps that show every image once."""
        return math.ceil(len(self.images) / self.recipe.batch_size)

    def size(self, step: int) -> int:
        """Return the number of images of a step, over all processes."""
        number = step % self.steps_per_epoch
        return min(self.recipe.batch_size, len(self.images) - number * self.recipe.batch_size)

    def images_seen(self, steps: int) -> int:
        """Return how many images the first ``steps`` steps show, repeated ones counted again."""
        epochs, number = divmod(steps, self.steps_per_epoch)
        of_epoch = min(number * self.recipe.batch_size, len(self.images))
        return epochs * len(self.images) + of_epoch


@dataclass
class Reached:
    """How far a training is, beside the state of its learner; all of it is part of a saved state.

    Attributes:
        step: Steps made.
        epochs: What is known of each epoch.
        seen: Images of the epoch so far.
        curve: Points of the learning curve.
    """

    step: int = 0
    epochs: list[dict[str, float]] = field(default_factory=list)
    seen: int = 0
    curve: list[dict[str, Any]] = field(default_factory=list)


def fit(learner: Learner, schedule: Schedule, work: PartialWork, processes: Processes) -> Reached:
    """Make all steps from the last saved one on; return what is known of them.

    Where another copy of this training is ahead, it goes on from the state of that one; nothing is
    known where that has written the outputs.

    Raises:
        CapsynthError: If the loss is no longer finite.
        Stopped: After a step, if SIGTERM came; all is saved.
        Superseded: After an epoch, if another start has taken over.
    """
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(deferred_stop())
        progress = None
        if processes.first:
            title = f"train {work.outputs[0].stem}"
            progress = stack.enter_context(Progress(title, schedule.steps, "step"))
        loop = _Loop(learner, schedule, work, processes, stop, progress)
        while True:
            if loop.watches_others and work.is_finished():
                return Reached()
            if loop.load() and loop.go_on():
                return loop.reached


class _Loop:
    """The steps of a training, and what is kept of them."""

    def __init__(
        self,
        learner: Learner,
        schedule: Schedule,
        work: PartialWork,
        processes: Processes,
        stop: StopFlag,
        progress: Progress | None,
    ) -> None:
        self._learner, self._schedule, self._work = learner, schedule, work
        self._processes, self._stop, self._progress = processes, stop, progress
        # Several processes would have to agree on it.
        self.watches_others = processes.count == 1
        self.reached = Reached()
        # Loss of the epoch so far.
        self._total = torch.zeros((), dtype=torch.float64, device=processes.device)
        # The step from which the batch log counts, and the steps that progress counts.
        self._begun = self._shown = 0

    def load(self) -> bool:
        """Load the newest state; return whether no other copy has saved a newer one meanwhile."""
        reached = Reached()
        self._total.zero_()
        # None yet, or another copy has a newer one.
        with contextlib.suppress(FileNotFoundError):
            groups, value = load_state(self._work.path(self._saved_step(), STATE))
            self._learner.load(groups, value)
            reached = Reached(value["step"], value["epochs"], value["seen"], value["curve"])
            if self._processes.first:
                self._total += value["loss"]
        self.reached, self._begun = reached, reached.step
        looked = time.time_ns()
        if self._is_overtaken():
            return False  # loading takes a while
        if self._progress is not None:
            self._progress.skip(reached.step - self._shown)
            self._work.note(reached.step, "begun", looked)
        # The other processes have loaded the state before the first one writes a new one.
        self._processes.wait()
        return True

    def go_on(self) -> bool:
        """Make the steps that are left; return False where another copy is ahead."""
        schedule = self._schedule
        recipe, steps = schedule.recipe, schedule.steps
        left = range(self.reached.step, steps)
        reader = load_steps(schedule.images, recipe, schedule.seed, left, self._processes)
        with contextlib.closing(reader) as loader:
            for step, batch in zip(itertools.count(left.start), loader, strict=False):
                size = schedule.size(step)
                rate = learning_rate(recipe, step, steps)
                self._total += self._learner.learn(batch, size, rate, step)
                self.reached.seen += size
                self.reached.step = self._shown = done = step + 1
                if self._progress is not None:
                    self._progress.advance(1)
                if done in schedule.curve_steps and self._processes.first:
                    self._add_point()
                ends = done % schedule.steps_per_epoch == 0 or done == steps
                # Several processes must agree to stop, which costs them time: not at each step.
                agree = self._processes.count == 1 or done % AGREE_STEPS == 0
                stops = agree and self._processes.any(self._stop.asked)
                saves = recipe.save_steps is not None and done % recipe.save_steps == 0
                if not (ends or stops or saves):
                    continue
                overtaken = self._keep(ends, stops)
                if stops and done < steps:
                    raise Stopped(f"{done} of {steps} steps are saved")
                if overtaken:
                    return False  # go on from where the other copy is
        return True

    def _add_point(self) -> None:
        """Measure accuracy on the held-out images: a point of the learning curve."""
        assert self._schedule.held_out is not None
        correct = self._schedule.held_out.measure(self._learner.classify)
        step = self.reached.step
        self.reached.curve.append(
            {"step": step, "images_seen": self._schedule.images_seen(step), **correct}
        )

    def _keep(self, ends: bool, stops: bool) -> bool:
        """Save what is reached; return whether another copy is ahead.

        Args:
            ends: Whether the step was the last one of its epoch.
            stops: Whether the training is to stop.
        """
        reached, work, steps = self.reached, self._work, self._schedule.steps
        loss = float(self._processes.total(self._total))
        # As after a resumption: the first process carries the sum on.
        self._total.fill_(loss if self._processes.first else 0.0)
        if not math.isfinite(loss):
            epoch = (reached.step - 1) // self._schedule.steps_per_epoch + 1
            raise CapsynthError(
                f"training diverged in epoch {epoch}: the loss is {loss}; lower the learning_rate "
                "of the recipe or lengthen its warm-up"
            )
        if ends:
            reached.epochs.append({"loss": loss / reached.seen})
            loss, reached.seen = 0.0, 0
            self._total.zero_()
        overtaken = self._is_overtaken()
        if self._processes.first and not overtaken:
            work.check_owner()
            groups, value = self._learner.state()
            value |= {"step": reached.step, "epochs": reached.epochs, "seen": reached.seen}
            value |= {"loss": loss, "curve": reached.curve}
            save_state(work.path(reached.step, STATE), groups, value)
            work.seal(reached.step)
            for number in work.numbers(STATE):
                if number < reached.step:
                    work.drop(number)
            work.note(self._begun, "finished")
            self._begun, looked = reached.step, time.time_ns()
            overtaken = self._is_overtaken()
            if reached.step < steps and not stops and not overtaken:
                work.note(self._begun, "begun", looked)
        return overtaken

    def _is_overtaken(self) -> bool:
        """Return whether another copy has saved more steps than this one has made."""
        return self.watches_others and self._saved_step() > self.reached.step

    def _saved_step(self) -> int:
        """Return how many steps any copy of this training has saved."""
        saved = max(self._work.numbers(STATE), default=0)
        # Asked last: who finishes deletes the states.
        return self._schedule.steps if self._work.is_finished() else saved

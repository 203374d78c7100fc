"""Evaluating one classifier on all evaluation sets: what is answered is not answered again.

Snakemake deletes all outputs of a job that runs again, and it runs again for one new set among
many. So the answers to each set stay beside their file, ``.{eval_set}.parquet.kept/``, as hard
links that take no space (``resuming.PartialWork``), under a mark of all that they depend on:
weights, images, settings and code. A job takes over what has its mark, and answers the rest.
"""

import contextlib
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from capsynth.errors import CapsynthError, Superseded
from capsynth.files import read_json, write_json
from capsynth.fingerprints import file_digest, fingerprint
from capsynth.integrity import find_record
from capsynth.job_log import note
from capsynth.kept import output_of_kept
from capsynth.progress import Progress
from capsynth.resuming import PartialWork, code_mark
from capsynth.settings import settings_from_json
from capsynth.shards import read_manifest, usable

log = logging.getLogger(__name__)

# Beside kept answers: what it took to make them.
_TIMES = "times.json"


@dataclass(frozen=True)
class Run:
    """Names of a classifier.

    Attributes:
        dataset: Name of the dataset.
        training_set: Name of the training set.
        recipe: Name of the recipe.
        seed: Training seed.
    """

    dataset: str
    training_set: str
    recipe: str
    seed: int


@dataclass(frozen=True)
class EvalView:
    """An evaluation set, and how it is answered.

    Attributes:
        eval_set: Its name.
        tar: Its images.
        manifest: Their manifest.
        class_ids: Classes that may be answered; None for all of the classifier's.
        answer_groups: Of classes, all that are right answers; None for the class alone.
        corrupted: Whether the images are stored corrupted, so that they are shown uncut.
        unknown: Whether the images are of none of the classes.
    """

    eval_set: str
    tar: str
    manifest: str
    class_ids: list[str] | None
    answer_groups: dict[str, list[str]] | None
    corrupted: bool
    unknown: bool


@dataclass(frozen=True)
class _Asked:
    """An evaluation set whose answers are still to be made, and where they go."""

    view: EvalView
    work: PartialWork
    images: int


def read_view(path: Path) -> EvalView:
    """Read a view from a JSON file.

    Raises:
        CapsynthError: If the file is not what the workflow wrote.
    """
    read_json(path)  # checks it
    return settings_from_json(EvalView, path.read_text(encoding="utf-8"))


def evaluate_on_sets(
    run: Run,
    checkpoint: Path,
    views: Sequence[EvalView],
    outputs: Sequence[Path],
    code: Path | None,
    batch_size: int,
    workers: int,
    prepare: Callable[[], object] = lambda: None,
) -> None:
    """Write a classifier's predictions on evaluation sets, one file each.

    A set that cannot be evaluated does not hold up the others; what is answered is kept whatever
    happens to the rest. The classifier is loaded once, if there is anything to answer.

    Args:
        run: Names that the predictions carry.
        checkpoint: The classifier.
        views: The evaluation sets.
        outputs: The predictions of each, see ``predictions.write_predictions``.
        code: Digests of the code; None to leave it out of what answers depend on.
        batch_size: Images a forward pass.
        workers: Processes that read images; 0 reads in this one.
        prepare: Called before the classifier is loaded.

    Raises:
        CapsynthError: If some sets could not be evaluated; the message names them.
        Superseded: If another start has taken over.
    """
    made_of = (asdict(run), file_digest(checkpoint), code_mark(code), batch_size)
    problems: dict[str, CapsynthError] = {}
    asked: list[_Asked] = []
    wall_s = cpu_s = 0.0
    for view, output in zip(views, outputs, strict=True):
        with _named(problems, view, outputs):
            work = PartialWork([output], fingerprint(*made_of, _content(view)), stays=True)
            if work.is_finished():
                took = _times(work)
                wall_s, cpu_s = wall_s + took["wall_s"], cpu_s + took["cpu_s"]
                _put_in_place(work)
            else:
                images = len(usable(read_manifest(Path(view.manifest))))
                asked.append(_Asked(view, work, images))
    if len(asked) + len(problems) < len(views):
        note(kept_wall_s=round(wall_s, 2), kept_cpu_s=round(cpu_s, 2))
    if asked:
        prepare()
        _answer_all(run, checkpoint, asked, batch_size, workers, outputs, problems)
    _drop_abandoned(outputs)
    if problems:
        told = "; ".join(f"{name}: {error}" for name, error in problems.items())
        raise CapsynthError(
            f"{len(problems)} of {len(views)} evaluation sets could not be evaluated, what was "
            f"answered to the others is kept: {told}"
        )


def _answer_all(
    run: Run,
    checkpoint: Path,
    asked: Sequence[_Asked],
    batch_size: int,
    workers: int,
    outputs: Sequence[Path],
    problems: dict[str, CapsynthError],
) -> None:
    # They load torch, which a job that answers nothing can do without.
    from capsynth.classifiers import load_classifier
    from capsynth.evaluation import RunName, answer

    classifier = load_classifier(checkpoint)
    total = sum(one.images for one in asked)
    with Progress(f"evaluate on {len(asked)} sets", total, "image") as progress:
        for one in asked:
            view, work = one.view, one.work

            def write(path: Path, view: EvalView = view, work: PartialWork = work) -> None:
                wall_s, cpu_s = time.monotonic(), time.process_time()
                answer(
                    RunName(**asdict(run), eval_set=view.eval_set),
                    classifier,
                    checkpoint,
                    [(Path(view.tar), Path(view.manifest))],
                    view.class_ids,
                    batch_size,
                    workers,
                    path,
                    view.corrupted,
                    view.answer_groups,
                    view.unknown,
                    progress,
                )
                wall_s, cpu_s = time.monotonic() - wall_s, time.process_time() - cpu_s
                write_json(work.folder / _TIMES, {"wall_s": wall_s, "cpu_s": cpu_s})

            with _named(problems, view, outputs):
                work.publish(write, keeping=(_TIMES,))
                _put_in_place(work)


@contextlib.contextmanager
def _named(
    problems: dict[str, CapsynthError], view: EvalView, outputs: Sequence[Path]
) -> Iterator[None]:
    """Note what is wrong with one set, so that the others are answered all the same."""
    try:
        yield
    except Superseded:
        raise Superseded(outputs) from None
    except CapsynthError as error:
        problems[view.eval_set] = error


def _times(work: PartialWork) -> dict[str, float]:
    """Return what it took to make kept answers; nothing, with a warning, if that is lost."""
    path = work.folder / _TIMES
    try:
        times: dict[str, float] = read_json(path)
    except (FileNotFoundError, CapsynthError) as error:
        log.warning("the costs leave out what an evaluation took, %s: %s", path, error)
        return {"wall_s": 0.0, "cpu_s": 0.0}
    return times


def _content(view: EvalView) -> tuple[object, ...]:
    """Return what answers to a set depend on: its settings, and digests of its files."""
    tar, manifest = Path(view.tar), Path(view.manifest)
    settings = {k: v for k, v in asdict(view).items() if k not in ("tar", "manifest")}
    # To read 300 GB of corrupted images would take longer than to answer some of them.
    record = find_record(tar)
    return settings, file_digest(manifest), record.sha256 if record else file_digest(tar)


def _put_in_place(work: PartialWork) -> None:
    """Let the predictions lie at their place, as new ones: Snakemake compares times."""
    work.restore()
    with contextlib.suppress(FileNotFoundError):  # another copy of the job puts its own there
        os.utime(work.outputs[0])


def _drop_abandoned(outputs: Sequence[Path]) -> None:
    """Delete what is kept of sets that were taken off and whose predictions were deleted."""
    for folder in outputs[0].parent.glob(".*"):
        output = output_of_kept(folder)
        if output is not None and output not in outputs and not output.exists():
            shutil.rmtree(folder, ignore_errors=True)

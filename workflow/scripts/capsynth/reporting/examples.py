"""Examples: the evaluation images on which one training set gains or loses most over another.

The gain of an image is the probability that classifiers give to its true class, the mean over the
training seeds of the first training set less that of the second.
"""

import io
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from capsynth.errors import CapsynthError
from capsynth.files import write_text
from capsynth.predictions import Predictions, read_predictions
from capsynth.reporting.browsing import (
    Filter,
    Row,
    browsing_page,
    data_uri,
    gain_element,
    image_element,
)
from capsynth.reporting.pages import escape
from capsynth.reporting.scores import sources_of
from capsynth.shards import ShardReader, read_manifest

# The page stays below 2 MB with 160 images.
LONGEST_SIDE = 112
MOST_BYTES = 6_000


@dataclass(frozen=True)
class Answers:
    """What the runs of one training set answered to one image.

    Attributes:
        said: How many runs answered each class, the most frequent answer first.
        probability: Probability of the true class, the mean over runs.
    """

    said: tuple[tuple[str, int], ...]
    probability: float


@dataclass(frozen=True)
class Example:
    """An evaluation image and what the runs of two training sets made of it.

    Attributes:
        eval_set: Its evaluation set.
        key: Its key there.
        class_id: Its true class.
        first: Answers after the first training set.
        second: Answers after the second.
    """

    eval_set: str
    key: str
    class_id: str
    first: Answers
    second: Answers

    @property
    def gain(self) -> float:
        """Probability of the true class of the first training set less that of the second."""
        return self.first.probability - self.second.probability


@dataclass(frozen=True, eq=False)
class _Run:
    """What is kept of a run; arrays of shape (n,) in ascending order of the keys."""

    keys: npt.NDArray[np.str_]
    target: npt.NDArray[np.int64]
    prediction: npt.NDArray[np.int64]
    probability: npt.NDArray[np.floating]
    class_ids: tuple[str, ...]


def _reduced(run: Predictions) -> _Run:
    order = np.argsort(run.keys, kind="stable")
    of_target = run.probabilities[np.arange(len(run)), run.target]
    return _Run(
        run.keys[order],
        run.target[order],
        run.prediction[order],
        of_target[order].astype(np.float64),
        run.class_ids,
    )


def find_examples(
    paths: Iterable[Path], comparison: tuple[str, str], eval_sets: Sequence[str], images: int
) -> list[Example]:
    """Return the images with the largest gains and losses, the largest gain first.

    Every evaluation set gives as many, half of them gains. Of the corrupted versions of one image
    the one with the largest gain, and the one with the largest loss, may be taken.

    Args:
        paths: Files of predictions of one recipe; other training sets are skipped.
        comparison: The second training set is subtracted from the first.
        eval_sets: Evaluation sets.
        images: Images at most, but never less than a gain and a loss of each evaluation set.

    Raises:
        CapsynthError: If a training set has no runs on an evaluation set, or runs of one
            evaluation set answered different images.
    """
    runs: dict[tuple[str, str], dict[int, _Run]] = defaultdict(dict)
    for path in paths:
        run = read_predictions(path)
        if run.training_set in comparison:
            runs[run.eval_set, run.training_set][run.seed] = _reduced(run)
    most = max(1, images // (2 * len(eval_sets)))
    examples: list[Example] = []
    for eval_set in eval_sets:
        sides = [runs.get((eval_set, name), {}) for name in comparison]
        seeds = sorted(sides[0].keys() & sides[1].keys())
        if not seeds:
            raise CapsynthError(
                f"{' and '.join(comparison)} have no seed in common on {eval_set!r}; evaluate both"
            )
        first, second = ([side[seed] for seed in seeds] for side in sides)
        examples += _of_eval_set(eval_set, first, second, most)
    return sorted(examples, key=lambda example: (-example.gain, example.eval_set, example.key))


def _of_eval_set(
    eval_set: str, first: Sequence[_Run], second: Sequence[_Run], most: int
) -> list[Example]:
    reference = first[0]
    for run in (*first, *second):
        if not np.array_equal(run.keys, reference.keys):
            raise CapsynthError(
                f"runs answer different samples of {eval_set!r}; evaluate all runs on the same "
                "packed evaluation set"
            )
    of_first, of_second = (
        np.mean([run.probability for run in side], axis=0) for side in (first, second)
    )
    gains = of_first - of_second
    sources, _ = sources_of(reference.keys.tolist())
    rows = _extremes(gains, sources, most)
    rows += _extremes(-gains, sources, most)

    def answers(side: Sequence[_Run], probability: npt.NDArray[np.floating], row: int) -> Answers:
        said = Counter(run.class_ids[run.prediction[row]] for run in side)
        ranked = tuple(sorted(said.items(), key=lambda item: (-item[1], item[0])))
        return Answers(ranked, float(probability[row]))

    return [
        Example(
            eval_set,
            str(reference.keys[row]),
            reference.class_ids[reference.target[row]],
            answers(first, of_first, row),
            answers(second, of_second, row),
        )
        for row in rows
    ]


def _extremes(values: npt.NDArray[np.floating], sources: Sequence[str], most: int) -> list[int]:
    """Return the rows of the largest values above 0, one a source at most."""
    taken: dict[str, int] = {}
    for row in np.argsort(-values, kind="stable").tolist():
        if len(taken) >= most or values[row] <= 0.0:
            break
        taken.setdefault(sources[row], row)
    return list(taken.values())


def _image(data: bytes, extension: str, example: Example) -> str:
    with Image.open(io.BytesIO(data)) as image:
        longest = max(image.size)
    uri = data_uri(data, extension, LONGEST_SIDE, MOST_BYTES)
    return image_element(uri, longest, f"{example.class_id}, {example.key}")


def _answer_cell(answers: Answers, class_id: str) -> str:
    runs = sum(number for _, number in answers.said)
    lines = [
        f'<span class="{"right" if name == class_id else "wrong"}">{escape(name)}</span>'
        f'<span class="about"> {number} of {runs}</span>'
        for name, number in answers.said
    ]
    p = f'<span class="about">p(true) = {answers.probability:.2f}</span>'
    return f"<td>{'<br>'.join([*lines, p])}</td>"


def examples_page(
    examples: Sequence[Example], images: Mapping[tuple[str, str], str], comparison: tuple[str, str]
) -> str:
    """Return the page of examples.

    Args:
        examples: In the order of the rows.
        images: HTML of each image by evaluation set and key.
        comparison: Names of the two training sets.
    """
    rows = [
        Row(
            {"class": example.class_id, "set": example.eval_set},
            f"<td>{images[example.eval_set, example.key]}</td>"
            f'<td><span class="class">{escape(example.class_id)}</span><br>'
            f'{escape(example.eval_set)}<br><span class="key">{escape(example.key)}</span></td>'
            f"<td>{gain_element(example.gain)}</td>"
            f"{_answer_cell(example.first, example.class_id)}"
            f"{_answer_cell(example.second, example.class_id)}",
            example.gain,
        )
        for example in examples
    ]
    first, second = comparison
    note = (
        f"The evaluation images on which {first} gains or loses most over {second}: probability of "
        f"the true class, mean over training seeds, of {first} less {second}, in percentage "
        "points. Each evaluation set gives the same number of its largest gains and losses, of "
        "the corrupted versions of one image one each. They are extremes, not typical images. "
        "Beside each image stands what the classifiers answered, and how many of them; right "
        "answers are blue."
    )
    return browsing_page(
        f"Wins and losses of {first} over {second}",
        note,
        heads=[
            *("<th>image</th>", "<th>true class</th>", "<th>gain</th>"),
            *(f"<th>answers after {escape(name)}</th>" for name in comparison),
        ],
        rows=rows,
        filters=[
            Filter("class", "all classes", sorted({e.class_id for e in examples})),
            Filter("set", "all evaluation sets", sorted({e.eval_set for e in examples})),
        ],
        sorts=[("biggest win first", "descending"), ("biggest loss first", "ascending")],
        searched="classes, keys and answers",
        style=".right { color: #0072b2; font-weight: 650; } .wrong { color: #b34700; }\n",
    )


def make_examples(
    paths: Iterable[Path],
    eval_sets: Mapping[str, tuple[Path, Path]],
    comparison: tuple[str, str],
    images: int,
    output: Path,
) -> None:
    """Write the page of examples.

    Args:
        paths: Files of predictions of one recipe.
        eval_sets: Tar and manifest of every evaluation set.
        comparison: The second training set is subtracted from the first.
        images: Images at most.
        output: HTML page.

    Raises:
        CapsynthError: If predictions are missing, or an image is not in its evaluation set.
    """
    examples = find_examples(paths, comparison, list(eval_sets), images)
    elements: dict[tuple[str, str], str] = {}
    for eval_set, (tar, manifest) in eval_sets.items():
        records = {record.key: record for record in read_manifest(manifest)}
        with ShardReader(tar) as reader:
            for example in (e for e in examples if e.eval_set == eval_set):
                record = records.get(example.key)
                if record is None:
                    raise CapsynthError(
                        f"{example.key!r} is not in {manifest}; evaluate the runs again"
                    )
                data = reader.read_bytes(record)
                elements[eval_set, example.key] = _image(data, record.extension or "", example)
    write_text(output, examples_page(examples, elements, comparison))

"""Stored predictions: what one run answered on one evaluation set, sample by sample."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from capsynth.errors import CapsynthError
from capsynth.files import dump_json
from capsynth.integrity import Damaged
from capsynth.parquet import read_parquet, write_parquet

METADATA_KEY = b"capsynth"
# The target of images that are of none of the classes.
UNKNOWN = -1


@dataclass(frozen=True, eq=False)
class Predictions:
    """The answers of one run to the ``n`` samples of an evaluation set.

    Attributes:
        dataset: Name of the dataset.
        training_set: Name of the training set.
        recipe: Name of the recipe.
        seed: Training seed.
        eval_set: Name of the evaluation set.
        class_ids: The classes, in the order of the probabilities.
        fingerprint: Fingerprint of the configuration that made the predictions.
        keys: Key of every sample, unique within its class, shape (n,), strings;
            ``{source}.{corruption}-{severity}`` in corruption sets.
        sample_class_ids: True class of every sample, shape (n,), strings.
        target: Index of the true class, shape (n,), int64.
        prediction: Index of the predicted class, shape (n,), int64.
        probabilities: Shape (n, classes), float32.
        sources: What every sample shows: samples of one class and source are the same photograph,
            shape (n,), strings; None where evaluation did not look.
        log_sum_exp: Logarithm of the sum of the exponentials of the logits that took part, shape
            (n,), float32: the negative energy of Liu et al. None in files without it.
        is_unknown: Whether the samples are of no class: each target is -1 then, and its class what
            its folder is called.
    """

    dataset: str
    training_set: str
    recipe: str
    seed: int
    eval_set: str
    class_ids: tuple[str, ...]
    fingerprint: str
    keys: npt.NDArray[np.str_]
    sample_class_ids: npt.NDArray[np.str_]
    target: npt.NDArray[np.int64]
    prediction: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float32]
    sources: npt.NDArray[np.str_] | None = None
    log_sum_exp: npt.NDArray[np.float32] | None = None
    is_unknown: bool = False

    def __len__(self) -> int:
        return len(self.keys)


def _check(
    path: Path,
    keys: Sequence[str],
    targets: npt.NDArray[np.integer],
    probabilities: npt.NDArray[np.floating],
    class_ids: Sequence[str],
    log_sum_exp: npt.NDArray[np.floating] | None,
    is_unknown: bool,
) -> None:
    """Raise CapsynthError if the arrays do not fit each other."""
    n, classes = len(keys), len(class_ids)
    if targets.shape != (n,) or probabilities.shape != (n, classes):
        raise CapsynthError(
            f"{path}: {n} keys, {classes} classes, targets of shape {targets.shape} and "
            f"probabilities of shape {probabilities.shape} do not fit; evaluate the run again"
        )
    if n == 0:
        raise CapsynthError(f"{path}: no sample was evaluated; give the evaluation set images")
    if is_unknown and (targets != UNKNOWN).any():
        raise CapsynthError(
            f"{path}: images of unknown classes have targets other than {UNKNOWN}; evaluate the "
            "run again"
        )
    if not is_unknown and not (0 <= targets.min() and targets.max() < classes):
        raise CapsynthError(
            f"{path}: targets lie in {targets.min()}..{targets.max()}, classes in "
            f"0..{classes - 1}; evaluate the run again"
        )
    # Keys are unique within a class: cat/0001.jpg and dog/0001.jpg are two images.
    if len(set(zip(targets.tolist(), keys, strict=True))) != n:
        raise CapsynthError(
            f"{path}: a key of one class occurs twice; pack the evaluation set again"
        )
    if not np.isfinite(probabilities).all():
        raise CapsynthError(
            f"{path}: probabilities are not finite, so the training diverged; lower the "
            "learning_rate of its recipe"
        )
    if log_sum_exp is not None and (
        log_sum_exp.shape != (n,) or not np.isfinite(log_sum_exp).all()
    ):
        raise CapsynthError(
            f"{path}: energies of shape {log_sum_exp.shape} do not fit {n} samples or are not "
            "finite; evaluate the run again"
        )


def write_predictions(
    path: Path,
    *,
    keys: Sequence[str],
    targets: npt.NDArray[np.integer],
    probabilities: npt.NDArray[np.floating],
    class_ids: Sequence[str],
    dataset: str,
    training_set: str,
    recipe: str,
    seed: int,
    eval_set: str,
    fingerprint: str,
    sources: Sequence[str] | None = None,
    log_sum_exp: npt.NDArray[np.floating] | None = None,
    unknown_class_ids: Sequence[str] | None = None,
) -> None:
    """Write predictions as Parquet, atomically; equal predictions give equal bytes.

    Args:
        path: The file to write.
        keys: Key of every sample, n of them.
        targets: Index of the true class, shape (n,).
        probabilities: Shape (n, classes); the most probable class is the prediction.
        class_ids: The classes, in the order of the probabilities.
        dataset: Name of the dataset.
        training_set: Name of the training set.
        recipe: Name of the recipe.
        seed: Training seed.
        eval_set: Name of the evaluation set.
        fingerprint: Fingerprint of the configuration that made the predictions.
        sources: What every sample shows, n of them; None where nobody looked.
        log_sum_exp: Of the logits, shape (n,); None leaves the column out.
        unknown_class_ids: What the samples are called that are of no class, n of them; None if they
            are of the classes.

    Raises:
        CapsynthError: If the arrays do not fit each other, a key repeats within a class, a target
            is no class or a probability is not finite.
    """
    is_unknown = unknown_class_ids is not None
    _check(path, keys, targets, probabilities, class_ids, log_sum_exp, is_unknown)
    about: dict[str, object] = {
        "dataset": dataset,
        "training_set": training_set,
        "recipe": recipe,
        "seed": seed,
        "eval_set": eval_set,
        "class_ids": list(class_ids),
        "fingerprint": fingerprint,
    }
    if sources is not None and len(sources) != len(keys):
        raise CapsynthError(f"{path}: {len(sources)} sources of {len(keys)} samples")
    if is_unknown:
        about["unknown"] = True
    names = unknown_class_ids or [class_ids[target] for target in targets]
    flat = np.ascontiguousarray(probabilities, dtype=np.float32).reshape(-1)
    shown = {} if sources is None else {"source": pa.array(list(sources), pa.string())}
    table = pa.table(
        {
            "key": pa.array(list(keys), pa.string()),
            "class_id": pa.array(list(names), pa.string()),
            "target": pa.array(targets, pa.int64()),
            "prediction": pa.array(probabilities.argmax(axis=1), pa.int64()),
            "probabilities": pa.FixedSizeListArray.from_arrays(
                pa.array(flat, pa.float32()), len(class_ids)
            ),
            **shown,
            **(
                {}
                if log_sum_exp is None
                else {"log_sum_exp": pa.array(log_sum_exp.astype(np.float32), pa.float32())}
            ),
        }
    ).replace_schema_metadata({METADATA_KEY: dump_json(about).encode()})
    write_parquet(path, table)


def read_predictions(path: Path) -> Predictions:
    """Read predictions.

    Raises:
        CapsynthError: If the file is none that ``write_predictions`` wrote.
    """
    try:
        table = read_parquet(path)
        about = json.loads((table.schema.metadata or {})[METADATA_KEY])
        classes = len(about["class_ids"])
        probabilities = table["probabilities"].combine_chunks()
        predictions = Predictions(
            dataset=about["dataset"],
            training_set=about["training_set"],
            recipe=about["recipe"],
            seed=int(about["seed"]),
            eval_set=about["eval_set"],
            class_ids=tuple(about["class_ids"]),
            fingerprint=about["fingerprint"],
            keys=np.array(table["key"].to_pylist(), dtype=np.str_),
            sample_class_ids=np.array(table["class_id"].to_pylist(), dtype=np.str_),
            target=table["target"].to_numpy(),
            prediction=table["prediction"].to_numpy(),
            probabilities=probabilities.flatten().to_numpy().reshape(len(table), classes),
            sources=np.array(table["source"].to_pylist(), dtype=np.str_)
            if "source" in table.column_names
            else None,
            log_sum_exp=(
                table["log_sum_exp"].to_numpy() if "log_sum_exp" in table.column_names else None
            ),
            is_unknown=bool(about.get("unknown", False)),
        )
    except FileNotFoundError as error:
        raise CapsynthError(f"{path} does not exist; evaluate the run first") from error
    except Damaged:
        raise
    except (pa.ArrowInvalid, KeyError, ValueError) as error:
        raise CapsynthError(
            f"{path}: not a file of predictions ({error}); delete it and evaluate the run again"
        ) from error
    _check(
        path,
        predictions.keys.tolist(),
        predictions.target,
        predictions.probabilities,
        predictions.class_ids,
        predictions.log_sum_exp,
        predictions.is_unknown,
    )
    return predictions

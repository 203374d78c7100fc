"""Features of the images of a shard, as files."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from capsynth.errors import CapsynthError
from capsynth.extractors import ExtractorSettings, load_extractor
from capsynth.files import dump_json
from capsynth.fingerprints import fingerprint
from capsynth.integrity import Damaged
from capsynth.models import without_places
from capsynth.parquet import read_parquet, write_parquet
from capsynth.progress import Progress
from capsynth.shards import ShardReader, ShardRecord, read_manifest, usable

log = logging.getLogger(__name__)

METADATA_KEY = b"capsynth"
Strings = npt.NDArray[np.str_]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Features:
    """Features of ``n`` images in one feature space.

    Attributes:
        space: Fingerprint of the model and of what was told to it: distances within one space only.
        keys: Key of every image, shape (n,), strings.
        class_ids: Its class, shape (n,), strings.
        source_keys: Key of the real image that a synthetic one descends from; empty if there is
            none. Shape (n,), strings.
        values: Shape (n, dimensions), float32.
        prompt_agreement: Cosine between the features of the image and of its prompt, shape (n,),
            float32; NaN without a prompt, or if it was not asked for.
    """

    space: str
    keys: Strings
    class_ids: Strings
    source_keys: Strings
    values: Floats
    prompt_agreement: Floats

    def __len__(self) -> int:
        return len(self.keys)


def cosines(a: Floats, b: Floats) -> Floats:
    """Return the cosine of each row of ``a`` with that row of ``b``, both (n, dimensions).

    With CLIP's features of images and of texts it is what CLIPScore (Hessel et al., EMNLP 2021,
    arXiv 2104.08718) cuts off at 0 and multiplies by 2.5. It says how well an image fits its text
    in the eyes of that model, which generators are often trained with: a description, not a
    measure of quality.
    """
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
    lengths = np.linalg.norm(wide_a, axis=1) * np.linalg.norm(wide_b, axis=1)
    products = np.einsum("ij,ij->i", wide_a, wide_b)
    return np.asarray(products / lengths, dtype=np.float32)


def extract_features(
    settings: ExtractorSettings, tar: Path, manifest: Path, output: Path, model_mark: str
) -> None:
    """Write the features of the usable images of a shard, in the manifest's order.

    Args:
        settings: The feature extractor.
        tar: A shard of real or synthetic images, or an evaluation set.
        manifest: Its manifest.
        output: Parquet with ``key, class_id, source_key, prompt_agreement, feature``; equal
            features give equal bytes.
        model_mark: Name of the model's weights, part of the name of the feature space.

    Raises:
        CapsynthError: If a feature is not finite.
    """
    records = usable(read_manifest(manifest))
    extractor = load_extractor(settings)
    values = np.empty((len(records), extractor.dimensions), dtype=np.float32)
    agreement = np.full(len(records), np.nan, dtype=np.float32)
    with (
        ShardReader(tar) as reader,
        Progress(f"extract features of {manifest.stem}", len(records), "image") as progress,
    ):
        for start in range(0, len(records), settings.batch_size):
            batch = records[start : start + settings.batch_size]
            place = slice(start, start + len(batch))
            values[place] = extractor.features([reader.read_image(record) for record in batch])
            if not np.isfinite(values[place]).all():
                raise CapsynthError(
                    f"{tar}: features are not finite in {settings.dtype}; set dtype: float32, or "
                    "look at the weights, which may hold NaN"
                )
            if settings.prompt_agreement:
                # Images without a prompt take their place in the batch, and keep NaN.
                texts = extractor.text_features([record.prompt or "" for record in batch])
                there = np.array([record.prompt is not None for record in batch])
                agreement[place] = np.where(there, cosines(values[place], texts), np.nan)
            progress.advance(len(batch))
    write_features(
        output, records, values, agreement, fingerprint(without_places(settings), model_mark)
    )


def write_features(
    path: Path, records: Sequence[ShardRecord], values: Floats, agreement: Floats, space: str
) -> None:
    """Write features as Parquet, atomically; equal features give equal bytes.

    Args:
        path: The file.
        records: The images, n of them.
        values: Their features, shape (n, dimensions).
        agreement: ``Features.prompt_agreement``, shape (n,).
        space: ``Features.space``.
    """
    flat = pa.array(values.reshape(-1), pa.float32())
    table = pa.table(
        {
            "key": pa.array([record.key for record in records], pa.string()),
            "class_id": pa.array([record.class_id for record in records], pa.string()),
            "source_key": pa.array([record.source_key for record in records], pa.string()),
            "prompt_agreement": pa.array(agreement, pa.float32(), from_pandas=True),
            "feature": pa.FixedSizeListArray.from_arrays(flat, values.shape[1]),
        }
    ).replace_schema_metadata({METADATA_KEY: dump_json({"space": space}).encode()})
    write_parquet(path, table)


def read_features(paths: Sequence[Path]) -> Features:
    """Read files of features as one.

    Raises:
        CapsynthError: If there is no file, one is none that ``extract_features`` wrote, or they are
            not of one feature space.
    """
    if not paths:
        raise CapsynthError("no files of features; name at least one")
    parts = [_read(path) for path in paths]
    for path, part in zip(paths, parts, strict=True):
        if part.space != parts[0].space:
            raise CapsynthError(
                f"{path}: another feature space than that of {paths[0]}; extract both anew with "
                "one feature extractor"
            )
    return Features(
        space=parts[0].space,
        keys=np.concatenate([part.keys for part in parts]),
        class_ids=np.concatenate([part.class_ids for part in parts]),
        source_keys=np.concatenate([part.source_keys for part in parts]),
        values=np.concatenate([part.values for part in parts]),
        prompt_agreement=np.concatenate([part.prompt_agreement for part in parts]),
    )


def _read(path: Path) -> Features:
    try:
        table = read_parquet(path)
        about = json.loads((table.schema.metadata or {})[METADATA_KEY])
        width = table.schema.field("feature").type.list_size
        values = table["feature"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        return Features(
            space=about["space"],
            keys=np.array(table["key"].to_pylist(), dtype=np.str_),
            class_ids=np.array(table["class_id"].to_pylist(), dtype=np.str_),
            source_keys=np.array([k or "" for k in table["source_key"].to_pylist()], dtype=np.str_),
            values=values.reshape(len(table), width),
            prompt_agreement=table["prompt_agreement"].to_numpy(),
        )
    except FileNotFoundError as error:
        raise CapsynthError(f"{path} does not exist; extract the features first") from error
    except Damaged:
        raise
    except (pa.ArrowInvalid, AttributeError, KeyError, ValueError) as error:
        raise CapsynthError(
            f"{path}: not a file of features ({error}); delete it and extract them again"
        ) from error

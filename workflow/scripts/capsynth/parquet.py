"""Parquet files that are whole or not there."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from capsynth.files import atomic_path


def write_parquet(path: Path, table: pa.Table) -> None:
    """Write a table, atomically; equal tables give equal bytes.

    The file is made in memory: pyarrow's writer, when the disk is full, tries again to write to it
    after it has told, and prints a traceback nobody can catch.
    """
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="zstd")
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getvalue())

"""Parquet files that are whole or not there, and read only as they were written."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from capsynth.files import atomic_path
from capsynth.integrity import check_size, read_checked, unreadable


def write_parquet(path: Path, table: pa.Table) -> None:
    """Write a table, atomically; equal tables give equal bytes.

    The file is made in memory: pyarrow's writer, when the disk is full, tries again to write to it
    after it has told, and prints a traceback nobody can catch.
    """
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="zstd")
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


def read_parquet(path: Path) -> pa.Table:
    """Read a table.

    Raises:
        Damaged: If it is not what its job wrote.
        ValueError: If it is no table.
        FileNotFoundError: If it does not exist.
    """
    data = read_checked(path)
    try:
        # No threads: one that has not ended when Python does aborts the process.
        return pq.ParquetFile(pa.BufferReader(data)).read(use_threads=False)
    except (pa.ArrowException, OSError) as error:  # what is damaged inside is an OSError
        raise ValueError(str(error)) from error


def count_rows(path: Path) -> int:
    """Return the rows of a table, by its end alone: its data may be large.

    Raises:
        Damaged: If that does not agree with itself.
        FileNotFoundError: If it does not exist.
    """
    check_size(path)
    try:
        about = pq.read_metadata(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise unreadable(path, error) from error
    groups = [about.row_group(i) for i in range(about.num_row_groups)]
    if about.num_rows != sum(group.num_rows for group in groups):
        raise unreadable(path, ValueError("its numbers of rows contradict one another"))
    return int(about.num_rows)

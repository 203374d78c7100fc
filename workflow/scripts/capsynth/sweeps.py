"""Sweeps: one experiment at several values of one key of its configuration."""

import csv
import io
import os
import re
import signal
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from capsynth.classes import FILE_SUFFIXES
from capsynth.configuration import complete
from capsynth.errors import CapsynthError
from capsynth.files import lock, write_text
from capsynth.names import check_name
from capsynth.yaml_files import read_yaml

_FOLDER_NAME = re.compile(r"[A-Za-z0-9+-][A-Za-z0-9._+-]*")


@dataclass(frozen=True)
class Sweep:
    """What a sweep file asks for.

    Attributes:
        path: The file, named in messages.
        key: The key that is swept, with dots between its parts: ``dataset.context_bias``.
        values: Its values, in the order in which they are run.
        overrides: What is put over the configuration at every value.
    """

    path: Path
    key: str
    values: tuple[Any, ...]
    overrides: Mapping[str, Any]


@dataclass(frozen=True)
class SweepRun:
    """The experiment at one value.

    Attributes:
        name: The value as the name of the run's folder.
        config: The run's configuration, checked; what it leaves out has its default.
    """

    name: str
    config: Mapping[str, Any]


def read_sweep(path: Path) -> Sweep:
    """Read a sweep file.

    Raises:
        CapsynthError: If it cannot be read, or a key is unknown, missing or of the wrong kind.
    """
    file = read_yaml(path)
    _check_keys(path, "", file, ("sweep", "config"))
    sweep = file.get("sweep")
    _check_keys(path, "sweep", sweep, ("key", "values"))
    key, values, overrides = sweep.get("key"), sweep.get("values"), file.get("config") or {}
    if not isinstance(key, str) or not key:
        raise CapsynthError(f"{path}: sweep.key names no key; write one such as dataset.seed")
    if not isinstance(values, list) or not values:
        raise CapsynthError(f"{path}: sweep.values is no list of values; write one such as [1, 2]")
    if not isinstance(overrides, dict):
        raise CapsynthError(f"{path}: config is no mapping; write keys as in config.yaml under it")
    return Sweep(path, key, tuple(values), overrides)


def _check_keys(path: Path, name: str, section: Any, known: Sequence[str]) -> None:
    where = f" of {name}" if name else ""
    if not isinstance(section, dict):
        raise CapsynthError(f"{path}: {name or 'the file'} needs the keys {' and '.join(known)}")
    for key in section:
        check_name(f"key{where} in {path}", str(key), known)


def plan_runs(sweep: Sweep, base: Mapping[str, Any]) -> list[SweepRun]:
    """Return the runs of a sweep over the configuration ``base``, all of them checked.

    Raises:
        CapsynthError: If the key is not in the configuration, the configuration at one of the
            values is refused, or a value is given twice or cannot name a folder.
    """
    merged = merge(base, sweep.overrides)
    parts = find_key(_completed(sweep, "config", merged), sweep.key)
    runs: dict[str, SweepRun] = {}
    for value in sweep.values:
        config = merge(merged, _nested(parts, value))
        checked: Any = _completed(sweep, f"{sweep.key} = {value}", config)
        for part in parts:
            checked = checked[part]
        # As it stands in the checked configuration: 0 and 0.0 are one value of a share.
        name = value_name(checked)
        if _FOLDER_NAME.fullmatch(name) is None:
            raise CapsynthError(
                f"{sweep.path}: sweep.values: {value!r} cannot name a folder; sweep numbers, "
                "true and false, or text of letters, digits and ._+-"
            )
        if name in runs:
            raise CapsynthError(f"{sweep.path}: sweep.values: {name} is given twice; remove one")
        runs[name] = SweepRun(name, config)
    return list(runs.values())


def _completed(sweep: Sweep, what: str, config: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return complete(config)
    except CapsynthError as error:
        raise CapsynthError(f"{sweep.path}: {what}: {error}") from None


def merge(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with ``change`` over it: mappings are merged, everything else replaced."""
    both = dict(base)
    for key, value in change.items():
        old = base.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            both[key] = merge(old, value)
        else:
            both[key] = value
    return both


def _nested(parts: Sequence[str], value: Any) -> dict[str, Any]:
    for part in reversed(parts[1:]):
        value = {part: value}
    return {parts[0]: value}


def find_key(config: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """Return the parts of ``key``, which names of the configuration may themselves have dots in.

    Raises:
        CapsynthError: If there is no such key; the message gives the nearest one.
    """
    parts: list[str] = []
    inner: Any = config
    rest = key
    while rest:
        where = ".".join(parts)
        if not isinstance(inner, Mapping):
            raise CapsynthError(f"sweep.key {key!r}: {where} has no keys of its own; use {where!r}")
        fitting = [name for name in inner if f"{rest}.".startswith(f"{name}.")]
        if not fitting:
            kind = f"key of {where} in sweep.key" if where else "key in sweep.key"
            check_name(kind, rest.partition(".")[0], inner)
        parts.append(max(fitting, key=len))
        inner = inner[parts[-1]]
        rest = rest[len(parts[-1]) + 1 :]
    return tuple(parts)


def value_name(value: Any) -> str:
    """Return a value as people write it in YAML: ``0.0``, ``true``, ``class-name``."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def config_text(run: SweepRun, folder: Path, sources: Sequence[Path]) -> str:
    """Return the text of the configuration of a run that works in ``folder``.

    Args:
        run: The run.
        folder: Where it works. Relative paths of the user's folders and files (images, class lists,
            class maps, groups) are rewritten to be seen from there.
        sources: The files it was made from, named in its head.
    """
    real_folder = os.path.realpath(folder)  # `..` leads out of where a link points
    config = dict(run.config)
    config["dataset"] = _seen_from(real_folder, config["dataset"])
    config["eval_sets"] = {
        name: _seen_from(real_folder, entry) for name, entry in config["eval_sets"].items()
    }
    names = " and ".join(path.as_posix() for path in sources)
    head = f"# Written by run_sweep from {names}: change those, this one is overwritten.\n"
    return head + yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=100)


def _seen_from(folder: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return a data set or an evaluation set whose relative paths are seen from ``folder``."""

    def moved(value: Any) -> Any:
        if isinstance(value, list):
            return [moved(path) for path in value]
        is_relative = isinstance(value, str) and not os.path.isabs(value)
        return os.path.relpath(value, folder) if is_relative else value

    seen = dict(entry)
    source = entry.get("source")
    for key in ("path", "class_map", "groups", "classes"):
        value = entry.get(key)
        # What is no path: a data set of the hub, openmoji's own groups, classes by name.
        if (
            value is None
            or (key == "path" and source == "huggingface" and not os.path.isdir(str(value)))
            or (key == "groups" and source == "openmoji")
            or (key == "classes" and not str(value).endswith(FILE_SUFFIXES))
        ):
            continue
        seen[key] = moved(value)
    return seen


def take_lock(path: Path) -> int:
    """Return a descriptor that holds a lock until every process that shares it has ended.

    Raises:
        CapsynthError: If another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        lock(descriptor, path, wait=False)
    except BlockingIOError:
        os.close(descriptor)
        raise CapsynthError(
            f"{path.parent}: another run_sweep, or a Snakemake it started, works there; wait for it"
        ) from None
    return descriptor


def run_command(command: Sequence[str], held: int) -> int:
    """Run a command that shares the held lock; return its exit code, above 128 after a signal.

    Raises:
        CapsynthError: If it cannot be started.
    """
    # By default this process would end at once and leave the command to itself.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        process = subprocess.Popen(command, pass_fds=(held,))
    except OSError as error:
        raise CapsynthError(
            f"{command[0]} cannot be run ({error.strerror}); activate the environment first"
        ) from None
    try:
        exit_code = process.wait()
    except KeyboardInterrupt:
        process.terminate()  # the signal may have been for this process alone
        exit_code = process.wait() or 128 + signal.SIGINT
    return exit_code if exit_code >= 0 else 128 - exit_code


def join_scores(key: str, scores: Iterable[tuple[str, Path]], output: Path) -> None:
    """Join the scores of runs into one CSV file, atomically, with the value of the run in front.

    The first column has the name of the last part of ``key``, or, where the scores have a column
    of that name themselves, the whole key. Rows are in the order of the runs, and of their files.

    Args:
        key: The key that was swept.
        scores: Value and scores.csv of each run.
        output: File to write.

    Raises:
        CapsynthError: If a file is missing, or its columns are not those of the first.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    columns: list[str] = []
    for value, path in scores:
        if not path.exists():
            raise CapsynthError(f"{path} does not exist; call run_sweep again, it makes what lacks")
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.reader(file)
            its_columns = next(rows, [])
            if not columns:
                columns = its_columns
                name = key.rpartition(".")[2]
                writer.writerow([key if name in columns else name, *columns])
            if its_columns != columns:
                raise CapsynthError(f"{path}: has columns {its_columns}, not {columns}; delete it")
            writer.writerows([value, *row] for row in rows)
    write_text(output, out.getvalue())

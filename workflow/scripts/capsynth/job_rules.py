"""Which rules a job of Snakemake's reads: its own. To read all of them takes much of its start."""

import itertools
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

_RULE = re.compile(r"^(?:rule|checkpoint) (\w+):", re.MULTILINE)
_OPTION = "--allowed-rules"


def allowed_rules(arguments: Sequence[str]) -> set[str]:
    """Return the rules that a job may run, by its command line; none if that does not say."""
    if _OPTION not in arguments:
        return set()
    behind = arguments[list(arguments).index(_OPTION) + 1 :]
    return set(itertools.takewhile(lambda word: not word.startswith("-"), behind))


def files_with_rules(files: Iterable[Path], rules: set[str]) -> list[Path]:
    """Return those of the rule files that hold one of the rules; all if a rule is in none."""
    files = list(files)
    held = {file: rules & set(_RULE.findall(file.read_text(encoding="utf-8"))) for file in files}
    if not rules or set().union(*held.values()) != rules:
        return files
    return [file for file in files if held[file]]

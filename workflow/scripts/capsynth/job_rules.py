"""Which rules a job of Snakemake's reads: its own. To read all of them takes much of its start."""

import itertools
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

_RULE = re.compile(r"^(?:rule|checkpoint|use rule \w+ as) (\w+)(?: with)?:", re.MULTILINE)
_BASE = re.compile(r"^use rule (\w+) as ", re.MULTILINE)
_OPTION = "--allowed-rules"


def allowed_rules(arguments: Sequence[str]) -> set[str]:
    """Return the rules that a job may run, by its command line; none if that does not say."""
    if _OPTION not in arguments:
        return set()
    behind = arguments[list(arguments).index(_OPTION) + 1 :]
    return set(itertools.takewhile(lambda word: not word.startswith("-"), behind))


def files_with_rules(files: Iterable[Path], rules: set[str]) -> list[Path]:
    """Return the rule files with these rules, and with those that they are made from, in order.

    All files if there are no rules, or if one is in none of them.
    """
    texts = {file: file.read_text(encoding="utf-8") for file in files}
    place = {rule: file for file, text in texts.items() for rule in _RULE.findall(text)}
    if not rules or not rules <= place.keys():
        return list(texts)
    needed: set[Path] = set()
    wanted = set(rules)
    while added := {place[rule] for rule in wanted} - needed:
        needed |= added
        wanted = {base for file in added for base in _BASE.findall(texts[file])}
    return [file for file in texts if file in needed]

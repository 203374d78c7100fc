"""YAML files that people write: where their keys stand, and what YAML makes of them unasked.

YAML 1.1 takes a good deal without a word: of a key that is there twice the last one, ``1:30`` as
90, ``010`` as 8, a bare ``no`` as false. Snakemake reads configurations with a loader of its own,
so the files are looked at here as well, before anything is done with what it read. A file of JSON
is one of YAML, but for its tabs and surrogate pairs.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import SafeConstructor

from capsynth.errors import CapsynthError
from capsynth.reading import open_file
from capsynth.schema import KeyPath, key_name
from capsynth.yaml_tree import LIST, MAPPING, MERGE, TAG, TEXT, Node, compose

_KNOWN_TAGS = {TEXT, MERGE, LIST, MAPPING}
_KNOWN_TAGS |= {f"{TAG}{kind}" for kind in ("bool", "float", "int", "null", "timestamp")}
_NUMBERS = (f"{TAG}int", f"{TAG}float")
_OCTAL = re.compile(r"[-+]?0[0-7_]+")
_SURROGATES = re.compile(r"\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")
_SHOWN = 40


@dataclass(frozen=True)
class Place:
    """Where a key or an item stands.

    Attributes:
        file: Its file, as messages name it.
        line: Its line, from 1.
        text: Its value as it is written, without quotes; None of lists and mappings.
    """

    file: str
    line: int
    text: str | None


class YamlFile:
    """A YAML or JSON file as it is written.

    Attributes:
        name: How messages name it.
        text: Its text, as a parser of YAML takes it.
        root: What it holds.
        problems: What does not say what it seems to: one line each, with file, line and remedy.
    """

    def __init__(self, path: Path, name: str | None = None) -> None:
        """Read a file.

        Raises:
            CapsynthError: If it cannot be read, or no loader must see it.
        """
        self.name = name or str(path)
        self.text = _as_yaml(_read_text(path, self.name))
        self.root = compose(self.name, self.text)
        self.problems = _problems(self.name, self.root)

    def loads(self) -> bool:
        """Return whether Snakemake can load it into a mapping at all."""
        if self.root.tag != MAPPING:
            return False
        try:
            # Circles and what stands for too much were refused before.
            return not self.problems or isinstance(yaml.safe_load(self.text), dict)
        except (yaml.YAMLError, ValueError, TypeError, AttributeError):
            return False

    def places(self) -> dict[KeyPath, Place]:
        """Return where each key and item stands, by its path; those that ``<<`` brings too."""
        found: dict[KeyPath, Place] = {}
        waiting: list[tuple[KeyPath, Node]] = [((), self.root)]
        while waiting:
            path, node = waiting.pop()
            for name, line, child in _children(node):
                found[*path, name] = Place(self.name, line, child.text)
                waiting.append(((*path, name), child))
        return found


def read_yaml(path: Path) -> Any:
    """Read a YAML file that somebody has written.

    Raises:
        CapsynthError: If it cannot be read, is no YAML, or does not say what it seems to; the
            message names each line.
    """
    file = YamlFile(path)
    if file.problems:
        raise CapsynthError("\n".join(file.problems))
    return yaml.safe_load(file.text)


def _read_text(path: Path, name: str) -> str:
    try:
        with open_file(path) as file:
            data = file.read()
    except OSError as error:
        raise CapsynthError(
            f"{name} cannot be read ({error.strerror}); name a file that is there and that you may "
            "read, as seen from here"
        ) from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise CapsynthError(
            f"{name}:{line}: byte 0x{data[error.start]:02x} is no UTF-8; save the file as UTF-8, "
            "for example with `iconv -f latin1 -t utf-8`"
        ) from None


def _as_yaml(text: str) -> str:
    """Return ``text``; if it is JSON, so that a parser of YAML takes it, line by line."""
    if not text.lstrip().startswith(("{", "[")):
        return text
    try:
        json.loads(text, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        return text
    # Between the values of JSON is where its tabs are.
    return _SURROGATES.sub(_as_one, text.replace("\t", " "))


def _as_one(pair: re.Match[str]) -> str:
    high, low = (int(half, 16) for half in pair.groups())
    return f"\\U{0x10000 + (high - 0xD800) * 0x400 + low - 0xDC00:08x}"


def _children(node: Node) -> Iterator[tuple[str | int, int, Node]]:
    """Yield name, line and value of what a node holds; what overrides comes last."""
    for key, value in node.pairs:
        if key.tag == MERGE:
            # Of several mappings the first counts.
            for source in reversed(value.items or [value]):
                yield from _children(source)
    for key, value in node.pairs:
        if key.tag != MERGE and key.text is not None:
            yield str(_value_of(key)), key.line, value
    for index, item in enumerate(node.items):
        yield index, item.line, item


def _value_of(scalar: Node) -> Any:
    """Return what YAML reads in a scalar.

    Raises:
        ValueError: If it cannot: a day that no month has, too many digits.
        yaml.YAMLError: If it has a tag that is not known.
    """
    if scalar.tag == TEXT:
        return scalar.text
    return SafeConstructor().construct_object(yaml.ScalarNode(scalar.tag, scalar.text))


def _problems(name: str, root: Node) -> list[str]:
    found: list[tuple[int, str]] = []
    seen: set[int] = set()
    waiting: list[tuple[KeyPath, Node]] = [((), root)]
    while waiting:
        path, node = waiting.pop()
        if id(node) in seen:  # an alias brings it again
            continue
        seen.add(id(node))
        found += [(node.line, f"{key_name(path)}: {said}") for said in _value_problems(node)]
        found += _key_problems(path, node)
        inner = [((*path, key.text or "?"), value) for key, value in node.pairs]
        inner += [((*path, index), item) for index, item in enumerate(node.items)]
        waiting += reversed(inner)  # the name where it is written, not that of an alias
    return [f"{name}:{line}: {said}" for line, said in sorted(found)]


def _value_problems(node: Node) -> Iterator[str]:
    text = node.text
    if node.tag not in _KNOWN_TAGS:
        tag = node.tag.replace(TAG, "!!")
        yield f"{tag} is not known here; remove it, or put the value in quotes"
    elif text is not None and node.tag != TEXT:
        try:
            value = _value_of(node)
        except ValueError:
            kind = "number" if node.tag in _NUMBERS else "date"
            yield f"{_cut(text)} is no {kind} that can be read; write another, or put it in quotes"
            return
        if node.tag in _NUMBERS and ":" in text:
            yield f"YAML counts {text} in sixties, as {value}; write {value}, or {_quoted(text)}"
        elif _OCTAL.fullmatch(text) and int(text.replace("_", "")) != value:
            yield f"YAML counts {text} in eights, as {value}; write {value}, or {_quoted(text)}"


def _key_problems(path: KeyPath, node: Node) -> Iterator[tuple[int, str]]:
    """Yield line and words of what is wrong with the keys of a mapping."""
    lines: dict[Any, int] = {}
    for key, value in node.pairs:
        where = key_name((*path, key.text or "?"))
        if key.text is None:
            yield key.line, f"{where}: a list or mapping is no name; write a word"
            continue
        try:
            read = _value_of(key) if key.tag != MERGE else (MERGE,)
        except (ValueError, yaml.YAMLError):
            read = key.text
        remedy = "rename or remove one"
        if key.tag == MERGE:
            remedy = "write <<: [*one, *other]"
            if any(source.tag != MAPPING for source in value.items or [value]):
                yield key.line, f"{where}: takes an alias of a mapping, such as *name"
        elif key.tag != TEXT:
            yield key.line, f"{where}: {_reading(read)}; put the name in quotes: '{key.text}'"
        if read in lines:
            yield key.line, f"{where} stands on line {lines[read]} already; {remedy}"
        lines.setdefault(read, key.line)


def _reading(value: Any) -> str:
    if value is None:
        return "YAML reads nothing in it"
    if isinstance(value, bool):
        return f"YAML reads {'true' if value else 'false'} in it"
    return f"YAML reads {_cut(str(value))} in it, no text"


def _quoted(text: str) -> str:
    return f"'{text}' in quotes for a text"


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"

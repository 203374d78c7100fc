"""YAML as it is written: the lines of its keys, and what an alias stands for.

Made from the events of a parser, so nothing recurses and nothing is loaded: a document that leads
in circles, or stands for a million values, is refused before a loader sees it.
"""

from dataclasses import dataclass, field
from typing import Any, NoReturn

import yaml
from yaml import events
from yaml.reader import ReaderError
from yaml.resolver import Resolver

from capsynth.errors import CapsynthError

# What aliases may stand for beyond what is written, in values. A thousand classes have 4,000.
MAX_ALIASED = 100_000
# A value inside of values, aliases followed. Nothing in a configuration is ten levels deep.
MAX_DEPTH = 100

TAG = "tag:yaml.org,2002:"
TEXT, MERGE, LIST, MAPPING = (f"{TAG}{kind}" for kind in ("str", "merge", "seq", "map"))

# The parser of libyaml takes a twentieth of the time.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TOO_DEEP = f"values lie more than {MAX_DEPTH} levels deep; a bracket or an indent is wrong"


@dataclass
class Node:
    """A value as it is written.

    Attributes:
        line: Its line, from 1.
        tag: YAML's name of its kind: what a bare word is taken for.
        text: A scalar as it is written, without quotes; None of lists and mappings.
        items: The values of a list.
        pairs: The keys and values of a mapping; what an alias names is the same node.
        size: How many values it stands for, aliases followed; long texts count more.
        depth: How many levels lie in it.
    """

    line: int
    tag: str
    text: str | None = None
    items: list["Node"] = field(default_factory=list)
    pairs: list[tuple["Node", "Node"]] = field(default_factory=list)
    size: int = 1
    depth: int = 0


@dataclass
class _Open:
    """A list or mapping whose end has not come, with the key that waits for its value."""

    node: Node
    anchor: str | None
    is_list: bool
    key: Node | None = None


def compose(name: str, text: str) -> Node:
    """Return what a document holds.

    Args:
        name: The file, for messages.
        text: Its text.

    Raises:
        CapsynthError: If it is no YAML, or its aliases lead in circles or to too much.
    """
    composer = _Composer(name)
    try:
        for event in yaml.parse(text, Loader=_Loader):
            mark: Any = event.start_mark  # always there in what a parser gives
            composer.take(event, mark.line + 1)
    except yaml.YAMLError as error:
        raise CapsynthError(_syntax_problem(name, text, error)) from None
    return composer.root or Node(1, f"{TAG}null", "")


class _Composer:
    def __init__(self, name: str) -> None:
        self.root: Node | None = None
        self._name = name
        self._anchors: dict[str, Node] = {}
        self._open: list[_Open] = []
        self._written = 0  # values, each as often as it is written
        self._resolver = Resolver()

    def take(self, event: Any, line: int) -> None:
        """Take the next event of the parser."""
        match event:
            case events.DocumentStartEvent() if self.root is not None:
                self._refuse(line, "a second document begins (---); keep one in a file")
            case events.CollectionStartEvent():
                is_list = isinstance(event, events.SequenceStartEvent)
                tag = event.tag if event.tag not in (None, "!") else LIST if is_list else MAPPING
                self._open.append(_Open(Node(line, tag), event.anchor, is_list))
                self._written += 1
                if len(self._open) > MAX_DEPTH:
                    self._refuse(line, _TOO_DEEP)
            case events.ScalarEvent():
                if event.tag in (None, "!"):
                    event.tag = self._resolver.resolve(yaml.ScalarNode, event.value, event.implicit)
                size = 1 + len(event.value) // 100
                self._written += size
                self._place(Node(line, event.tag, event.value, size=size), event.anchor, line)
            case events.AliasEvent():
                self._place(self._named(event.anchor, line), None, line)
            case events.CollectionEndEvent():
                closed = self._open.pop()
                self._place(closed.node, closed.anchor, line)

    def _named(self, anchor: str | None, line: int) -> Node:
        if any(anchor == above.anchor for above in self._open):
            self._refuse(line, f"*{anchor} stands within &{anchor} itself; write out what is meant")
        if anchor is None or anchor not in self._anchors:
            self._refuse(line, f"*{anchor} has no &{anchor} above it; write out what is meant")
        return self._anchors[anchor]

    def _place(self, node: Node, anchor: str | None, line: int) -> None:
        """Put a value that is complete where it belongs."""
        if anchor is not None:
            self._anchors[anchor] = node
        if len(self._open) + node.depth > MAX_DEPTH:
            self._refuse(line, _TOO_DEEP)
        if not self._open:
            self.root = node
            return
        above = self._open[-1]
        if above.is_list:
            above.node.items.append(node)
        elif above.key is None:
            above.key = node
        else:
            above.node.pairs.append((above.key, node))
            above.key = None
        above.node.size += node.size
        above.node.depth = max(above.node.depth, node.depth + 1)
        if above.node.size - self._written > MAX_ALIASED:
            many = f"{MAX_ALIASED:,}"
            self._refuse(
                line, f"aliases stand for more than {many} values here; write out what is meant"
            )

    def _refuse(self, line: int, problem: str) -> NoReturn:
        raise CapsynthError(f"{self._name}:{line}: {problem}")


def _syntax_problem(name: str, text: str, error: yaml.YAMLError) -> str:
    line, said = 1, " ".join(str(error).split())
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        line, said = error.problem_mark.line + 1, str(error.problem)
        if error.context is not None and error.context_mark is not None:
            said = f"{error.context} that begins on line {error.context_mark.line + 1}, {said}"
    elif isinstance(error, ReaderError):
        line = text.encode()[: error.position].count(b"\n") + 1
        sign: int | str = error.character  # a number, in the parser of libyaml
        said = f"U+{sign if isinstance(sign, int) else ord(sign):04X}, {error.reason}"
    return f"{name}:{line}: is no YAML: {said}; mend this line or the one above it"

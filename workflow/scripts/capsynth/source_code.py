"""Which files of the library a script depends on, read from its imports."""

import ast
import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path

from capsynth.files import dump_json, write_if_changed, write_text
from capsynth.fingerprints import file_digest

PACKAGE = "capsynth"
# Folder, beside the files of code digests, that keeps each of their versions under its checksum:
# a record of Snakemake names the version that it was made with.
VERSIONS = "versions"


@functools.cache
def imported_modules(path: Path, root: Path) -> frozenset[Path]:
    """Return the library files that the Python file ``path`` imports, itself not included.

    Packages count with their ``__init__.py``; imports inside functions count too.

    Args:
        path: A Python file.
        root: The folder that holds the package.
    """
    found: set[Path] = set()
    for node in _statements(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            if name.split(".")[0] == PACKAGE:
                found |= _files_of(name, root)
    return frozenset(found)


def _statements(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield all statements, those in others too. Nine nodes in ten are in expressions."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        for field in ("body", "orelse", "finalbody", "handlers", "cases"):
            waiting += getattr(node, field, ())


@functools.cache
def _files_of(name: str, root: Path) -> frozenset[Path]:
    """Return the files that importing the dotted ``name`` loads, as far as it is a module."""
    files: set[Path] = set()
    folder = root
    for part in name.split("."):
        folder = folder / part
        module, package = folder.with_suffix(".py"), folder / "__init__.py"
        files |= {file for file in (module, package) if file.exists()}
    return frozenset(files)


def code_of(script: Path, root: Path) -> list[Path]:
    """Return all library files that ``script`` needs, directly or through others, sorted."""
    seen: set[Path] = set()
    waiting = [script]
    while waiting:
        for file in imported_modules(waiting.pop(), root):
            if file not in seen:
                seen.add(file)
                waiting.append(file)
    return sorted(seen)


def code_digests(script: Path, root: Path) -> dict[str, str]:
    """Return the SHA-256 of ``script`` and of the library files it needs, by path in ``root``."""
    return {str(f.relative_to(root)): _digest(f) for f in [script, *code_of(script, root)]}


def write_code_digests(script: Path, root: Path, path: Path) -> None:
    """Write the digests of ``script`` and the files it needs to ``path``, unless it holds them.

    What it held before stays beside it, so that it can be said which module has changed.
    """
    text = dump_json(code_digests(script, root))
    write_if_changed(path, text)
    version = path.parent / VERSIONS / f"{hashlib.sha256(text.encode()).hexdigest()}.json"
    if not version.exists():
        write_text(version, text)


@functools.cache
def _digest(path: Path) -> str:
    return file_digest(path)

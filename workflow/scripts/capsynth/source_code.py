"""Which files of the library a script depends on, read from its imports."""

import ast
import functools
from pathlib import Path

from capsynth.fingerprints import file_digest

PACKAGE = "capsynth"


@functools.cache
def imported_modules(path: Path, root: Path) -> frozenset[Path]:
    """Return the library files that the Python file ``path`` imports, itself not included.

    Packages count with their ``__init__.py``; imports inside functions count too.

    Args:
        path: A Python file.
        root: The folder that holds the package.
    """
    found: set[Path] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            if name.split(".")[0] == PACKAGE:
                found |= _files_of(name, root)
    return frozenset(found)


def _files_of(name: str, root: Path) -> set[Path]:
    """Return the files that importing the dotted ``name`` loads, as far as it is a module."""
    files: set[Path] = set()
    folder = root
    for part in name.split("."):
        folder = folder / part
        module, package = folder.with_suffix(".py"), folder / "__init__.py"
        files |= {file for file in (module, package) if file.exists()}
    return files


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


@functools.cache
def _digest(path: Path) -> str:
    return file_digest(path)

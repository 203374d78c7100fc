"""Which files of the library a script depends on, read from its imports."""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

from capsynth.files import dump_json
from capsynth.fingerprints import file_digest
from capsynth.written_inputs import CODE, input_path, write_input

PACKAGE = "capsynth"


def imported_modules(path: Path, root: Path) -> frozenset[Path]:
    """Return the library files that the Python file ``path`` imports, itself not included.

    Packages count with their ``__init__.py``; imports inside functions count too.

    Args:
        path: A Python file.
        root: The folder that holds the package.
    """
    return _imports(path, root, _state(path))


def _state(path: Path) -> tuple[int, int, int]:
    """Return what is another after an edit; what a process has read of a file holds until then."""
    about = path.stat()
    return about.st_mtime_ns, about.st_size, about.st_ino


@functools.cache
def _imports(path: Path, root: Path, _: object) -> frozenset[Path]:
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
    files = [script, *code_of(script, root)]
    return {str(file.relative_to(root)): _digest(file, _state(file)) for file in files}


def is_code_of(digests: Path, script: Path, root: Path) -> bool:
    """Return whether a file of ``write_code_digests`` is of the code as it is now."""
    text = dump_json(code_digests(script, root))
    return digests == input_path(CODE, script.stem, ".json", text)


def write_code_digests(script: Path, root: Path) -> Path:
    """Write the digests of ``script`` and the files it needs, unless they are there; return where.

    Another state of the code is another file: what a job was planned with stays as it is, and what
    there was before can be compared, to say which module has changed.
    """
    return write_input(CODE, script.stem, ".json", dump_json(code_digests(script, root)))


@functools.cache
def _digest(path: Path, _: object) -> str:
    return file_digest(path)

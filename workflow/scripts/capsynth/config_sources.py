"""Where the values of a configuration come from: files put one over the other, and ``--config``."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from capsynth.errors import CapsynthError
from capsynth.schema import KeyPath, key_name
from capsynth.yaml_files import Place, YamlFile
from capsynth.yaml_tree import MAPPING

OPTION = "--config"


class ConfigSources:
    """The files of a configuration, and what the command line puts over them.

    Attributes:
        problems: What does not say what it seems to, one line each.
    """

    def __init__(
        self,
        files: Sequence[Path],
        options: Iterable[str] = (),
        replaces: bool = False,
        profiles: Iterable[Path] = (),
    ) -> None:
        """Read the files.

        Args:
            files: The configuration of the workflow, then those that are put over it.
            options: The ``key=value`` of ``--config``.
            replaces: Whether the first file counts only as long as there is no other.
            profiles: Files of Snakemake's profiles, looked at for their problems alone.

        Raises:
            CapsynthError: If one cannot be read, or no loader must see it; the message has a line
                for each.
        """
        self._options = tuple(options)
        unread: list[str] = []
        self._files = _read(files, unread)
        if replaces and len(files) > 1 and not unread:
            del self._files[0]
        unread += [
            f"{f.name}: holds no keys; write those of an experiment"
            for f in self._files
            if f.root.tag != MAPPING
        ]
        looked_at = [*self._files, *_read(profiles, unread)]
        self.problems = [line for file in looked_at for line in file.problems]
        if unread or not all(file.loads() for file in self._files):
            raise CapsynthError("\n".join([*unread, *self.problems]))

    @functools.cached_property
    def _layers(self) -> list[Mapping[KeyPath, Place]]:
        """Where each key stands, the layer that counts first."""
        return [_option_places(self._options), *(f.places() for f in reversed(self._files))]

    @functools.cached_property
    def _paths(self) -> dict[str, KeyPath]:
        return {key_name(path): path for layer in self._layers for path in layer}

    def place(self, path: KeyPath) -> Place | None:
        """Return where a key stands, or what is nearest above it; None if that is nowhere."""
        while path:
            for layer in self._layers:
                if path in layer:
                    return layer[path]
            path = path[:-1]
        return None

    def written(self, path: KeyPath) -> str | None:
        """Return a value as it is written in a file; None if it is no single value there."""
        return next((layer[path].text for layer in self._layers if path in layer), None)

    def is_option(self, path: KeyPath) -> bool:
        """Return whether a value comes from ``--config``."""
        place = self.place(path)
        return place is not None and place.file == OPTION

    def located(self, problems: Iterable[str]) -> tuple[list[str], str]:
        """Return lines that begin with a key, each with the file and line of the key before it.

        Beside them what to do if it is the files together that have problems, or nothing.
        """
        told, lower = [], False
        for problem in problems:
            place = self.place(self._path_in(problem))
            if place is None:
                told.append(problem)
                continue
            at = place.file if place.file == OPTION else f"{place.file}:{place.line}"
            told.append(f"{at}: {problem}")
            lower |= place.file == self._files[0].name
        if not lower or len(self._files) == 1:
            return told, ""
        base, *others = (file.name for file in self._files)
        over = " and ".join(others)
        return told, (
            f"{over} is put over {base}, whose other keys stay; for {over} alone add "
            "--replace-workflow-config"
        )

    def _path_in(self, problem: str) -> KeyPath:
        """Return the path of the key that a line begins with."""
        named = [n for n in self._paths if problem.startswith((f"{n}:", f"{n} ", f"{n}.", f"{n}["))]
        return self._paths[max(named, key=len)] if named else ()


def _read(paths: Iterable[Path], unread: list[str]) -> list[YamlFile]:
    """Return the files that can be read; adds to ``unread`` why others cannot."""
    files = []
    for path in paths:
        try:
            files.append(YamlFile(path, _shown(path)))
        except CapsynthError as error:
            unread.append(str(error))
    return files


def _option_places(options: Iterable[str]) -> dict[KeyPath, Place]:
    found: dict[KeyPath, Place] = {}
    for option in options:
        key, _, text = option.partition("=")
        try:
            # As Snakemake reads it: lists and mappings of text.
            value = yaml.BaseLoader(text).get_single_data()
        except yaml.YAMLError:
            value = text
        waiting: list[tuple[KeyPath, Any]] = [((key,), value)]
        while waiting:
            path, inner = waiting.pop()
            # What a mapping does not name stays what a file says.
            if not isinstance(inner, Mapping):
                found[path] = Place(OPTION, 0, None)
            if isinstance(inner, Mapping | list):
                pairs = inner.items() if isinstance(inner, Mapping) else enumerate(inner)
                waiting += [((*path, name), child) for name, child in pairs]
    return found


def _shown(path: Path) -> str:
    """Return a path as seen from here if it lies below, else as it is."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)

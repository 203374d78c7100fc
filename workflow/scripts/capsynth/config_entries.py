"""Looking into a configuration of any shape: what is not there, or no mapping, is empty."""

from collections.abc import Iterator, Mapping
from typing import Any


def section_of(config: Any, name: str) -> dict[str, Any]:
    """Return a section of the configuration; {} if it is not there or no mapping."""
    section = config.get(name) if isinstance(config, dict) else None
    return section if isinstance(section, dict) else {}


def entries_of(config: Any, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the entries of a section that are mappings, by name."""
    for key, entry in section_of(config, name).items():
        if isinstance(entry, dict):
            yield key, entry


def list_of(entry: Mapping[str, Any], key: str) -> list[Any]:
    """Return the list at a key; [] if there is none."""
    value = entry.get(key)
    return value if isinstance(value, list) else []

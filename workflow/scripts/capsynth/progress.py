"""Progress of long stages: a bar in a terminal, plain lines in a log."""

import logging
import sys
import time
from types import TracebackType
from typing import Self

from tqdm import tqdm

log = logging.getLogger(__name__)


class Progress:
    """Counts finished items; shows them as a bar, or as a line every ``every_s`` seconds."""

    def __init__(self, title: str, total: int, unit: str, every_s: float = 10.0) -> None:
        self._title, self._total, self._unit, self._every_s = title, total, unit, every_s
        self._done = self._new = 0
        self._began = self._spoke = time.monotonic()
        terminal = sys.stderr.isatty()
        self._bar = tqdm(total=total, desc=title, unit=unit) if terminal else None

    def skip(self, n: int) -> None:
        """Count ``n`` items that an earlier start had finished."""
        self._done += n
        if self._bar is not None:
            self._bar.update(n)
        elif n:
            log.info("%s: %d of %d were done before", self._title, n, self._total)

    def advance(self, n: int) -> None:
        """Count ``n`` items finished now."""
        self._done += n
        self._new += n
        if self._bar is not None:
            self._bar.update(n)
        elif time.monotonic() - self._spoke >= self._every_s:
            self._say()

    def _say(self) -> None:
        self._spoke = time.monotonic()
        rate = self._new / max(1e-9, self._spoke - self._began)
        log.info(
            "%s: %d/%d %ss, %.1f a second", self._title, self._done, self._total, self._unit, rate
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        elif kind is None:
            self._say()

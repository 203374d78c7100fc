"""Opening a URL over connections that have to make headway.

A time limit of a socket is one of each read: a server that sends a byte a minute keeps within it
for ever, in its headers or in the file.
"""

import http.client
import io
import time
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

# A connection has to bring a kilobyte a second, looked at each minute.
WINDOW_S = 60.0
LEAST_BYTES = 60_000
HEADER_BYTES = 1 << 20


class Paced(io.RawIOBase):
    """A stream that fails once it brings too little for its time, or too much of headers."""

    def __init__(self, raw: io.RawIOBase, clock: Callable[[], float] = time.monotonic) -> None:
        self._raw, self._clock = raw, clock
        self._since, self._bytes = clock(), 0
        self.headers_left: int | None = HEADER_BYTES

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Read what there is.

        Raises:
            TimeoutError: If too little came in the last minute.
            http.client.HTTPException: If headers have no end.
        """
        count = self._raw.readinto(buffer)
        self._bytes += count or 0
        if self.headers_left is not None:
            self.headers_left -= count or 0
            if self.headers_left < 0:
                raise http.client.HTTPException("headers without end")
        now = self._clock()
        if count and now - self._since >= WINDOW_S:
            if self._bytes < LEAST_BYTES:
                raise TimeoutError(f"{self._bytes} bytes in {now - self._since:.0f} s")
            self._since, self._bytes = now, 0
        return count

    def close(self) -> None:
        """Close the stream beneath it."""
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    """A response that is read through ``Paced``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._paced = Paced(self.fp.detach())
        self.fp = io.BufferedReader(self._paced)

    def begin(self) -> None:
        """Read the headers."""
        super().begin()
        self._paced.headers_left = None


class _Connection(http.client.HTTPConnection):
    response_class = _Response


class _SecureConnection(http.client.HTTPSConnection):
    response_class = _Response


class _Handler(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(_Connection, req)


class _SecureHandler(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(_SecureConnection, req)


def open_url(url: str, headers: Mapping[str, str]) -> Any:
    """Open an http or https address and return the response.

    Raises:
        OSError: If it cannot be reached, refuses, or makes no headway.
        http.client.HTTPException: If it does not speak HTTP.
    """
    opener = urllib.request.build_opener(_Handler, _SecureHandler)
    return opener.open(urllib.request.Request(url, headers=dict(headers)), timeout=WINDOW_S)

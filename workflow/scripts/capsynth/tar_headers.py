"""Headers of tars of others: read in bounded memory and time.

A member may have headers before its own, for a long name or other attributes, and headers before
those. tarfile reads each whole, whatever its size, and one inside of the other, whatever their
number.
"""

import tarfile
from pathlib import Path
from typing import Any, Self

from capsynth.errors import CapsynthError

# A path has 4,096 bytes at most; attributes such as access lists are of the same order.
MAX_HEADER_BYTES = 1 << 20
# tar writes up to three: attributes, a long name, the long target of a link.
MAX_HEADERS = 16
_BEFORE_OTHERS = frozenset(
    {
        tarfile.GNUTYPE_LONGNAME,
        tarfile.GNUTYPE_LONGLINK,
        tarfile.XHDTYPE,
        tarfile.XGLTYPE,
        tarfile.SOLARIS_XHDTYPE,
    }
)


def bounded_headers(path: Path) -> type[tarfile.TarInfo]:
    """Return what ``tarfile.open`` of a tar is to be given as ``tarinfo``, for one reading.

    Reading then raises CapsynthError of headers that no archive of pictures has: too large or too
    many before one member, of a negative size, of sparse files.
    """
    in_a_row, in_all = 0, 0

    def refused(info: tarfile.TarInfo, what: str) -> CapsynthError:
        return CapsynthError(f"{path}: {info.name!r} {what}; make the tar anew without it")

    class Bounded(tarfile.TarInfo):
        @classmethod
        def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
            nonlocal in_a_row, in_all
            info = super().frombuf(buf, encoding, errors)
            if info.size < 0:
                raise refused(info, f"has {info.size} bytes")
            # What is told of holes in a file may be as long as one likes.
            if info.type == tarfile.GNUTYPE_SPARSE:
                raise refused(info, "is a sparse file")
            if info.type not in _BEFORE_OTHERS:
                in_a_row = 0
                return info
            in_a_row += 1
            # Global attributes are kept until the end.
            in_all += info.size if info.type == tarfile.XGLTYPE else 0
            if max(info.size, in_all) > MAX_HEADER_BYTES or in_a_row > MAX_HEADERS:
                raise refused(
                    info,
                    f"has headers of more than {MAX_HEADER_BYTES} bytes, or more than "
                    f"{MAX_HEADERS} of them",
                )
            return info

        def _proc_gnusparse_10(self, following: tarfile.TarInfo, *_: Any) -> None:
            """Refuse what reads the list of holes from the member's data, up to its end."""
            raise refused(following, "is a sparse file")

    return Bounded

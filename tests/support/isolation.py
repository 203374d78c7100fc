"""Run a command where there is nothing but the system, an environment and a working directory.

In namespaces of its own the command has no network, and every folder at the root of the file
system that is not the system's is empty. What remains can be read only, the working directory and
``/dev/shm`` aside, and root is bound by that too.
"""

import argparse
import ctypes
import fcntl
import os
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

SYSTEM = {"bin", "dev", "etc", "lib", "lib32", "lib64", "libx32", "proc", "sbin", "sys", "usr"}
# linux/mount.h, linux/sockios.h, linux/if.h
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
SIOCSIFFLAGS, SIOCSIFADDR, IFF_UP = 0x8914, 0x8916, 1


def why_unavailable() -> str:
    """Return why nothing can be isolated here; nothing if it can."""
    if sys.platform != "linux" or shutil.which("unshare") is None:
        return "needs Linux and util-linux's unshare"
    if os.geteuid() != 0:
        return "only root can hide folders"
    done = subprocess.run(["unshare", "--mount", "--net", "true"], capture_output=True, text=True)
    return done.stderr.strip()


def isolated(
    command: Sequence[str],
    folder: Path,
    *,
    readable: Sequence[Path] = (),
    writable: Sequence[Path] = (),
    loopback: bool = False,
) -> list[str]:
    """Return the command line that runs ``command`` isolated in ``folder``.

    Args:
        command: What is run; this interpreter's environment is there for it.
        folder: Its working directory.
        readable: Further folders that are there.
        writable: Further folders that are there and can be written to.
        loopback: Whether there is a network that reaches this machine's own processes in it.
    """
    words = ["unshare", "--mount", "--net", "--propagation", "private", sys.executable, __file__]
    for path in (sys.prefix, sys.base_prefix, *readable):
        words += ["--readable", str(path)]
    for path in writable:
        words += ["--writable", str(path)]
    return [*words, *["--loopback"] * loopback, str(folder), *command]


def environment(home: str | None, **more: str) -> Mapping[str, str]:
    """Return as little of an environment as a shell has."""
    path = os.pathsep.join([str(Path(sys.executable).parent), "/usr/bin", "/bin", "/usr/sbin"])
    return {"PATH": path, **({} if home is None else {"HOME": home}), **more}


def main() -> None:
    """Hide everything, then become the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--readable", type=Path, action="append", default=[])
    parser.add_argument("--writable", type=Path, action="append", default=[])
    parser.add_argument("--loopback", action="store_true")
    parser.add_argument("folder", type=Path)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    args = parser.parse_args()
    if args.loopback:
        _start_loopback()
    _hide(args.readable, [args.folder, *args.writable])
    os.chdir(args.folder)
    os.execvp(args.command[0], args.command)


def _start_loopback() -> None:
    with socket.socket() as any_socket:
        request = struct.pack("16sH14x", b"lo", IFF_UP)
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, request)
        # glibc takes a machine whose one address is 127.0.0.1 for one without IPv4, and then
        # getaddrinfo, as SLURM calls it, does not even know that address.
        second = socket.inet_aton("127.0.0.2")
        request = struct.pack("16sHH4s8x", b"lo:0", socket.AF_INET, 0, second)
        fcntl.ioctl(any_socket, SIOCSIFADDR, request)


def _hide(readable: Sequence[Path], writable: Sequence[Path]) -> None:
    # Folders are held open, and found again through that once they are hidden. Outer ones first.
    kept = sorted({path.resolve() for path in (*readable, *writable)})
    handles = {path: os.open(path, os.O_PATH) for path in kept if _top(path) not in SYSTEM}
    tops = [
        entry.path
        for entry in os.scandir("/")
        if entry.is_dir(follow_symlinks=False) and entry.name not in SYSTEM
    ]
    for top in tops:
        _mount("tmpfs", top, "tmpfs", 0)
    for path, handle in handles.items():
        path.mkdir(parents=True, exist_ok=True)
        _mount(f"/proc/self/fd/{handle}", path, None, MS_BIND)
        os.close(handle)
    can_write = {path.resolve() for path in writable}
    for place in ("/", *tops, *(path for path in handles if path not in can_write)):
        _mount("none", place, None, MS_REMOUNT | MS_BIND | MS_RDONLY)


def _top(path: Path) -> str:
    return path.parts[1] if len(path.parts) > 1 else ""


def _mount(source: str, target: str | Path, kind: str | None, flags: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    words = [None if word is None else os.fsencode(word) for word in (source, target, kind)]
    if libc.mount(*words, ctypes.c_ulong(flags), None) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{source} on {target}: {os.strerror(error)}")


if __name__ == "__main__":
    main()

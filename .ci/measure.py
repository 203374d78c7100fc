"""Run a command; print its wall time and the peak memory of all processes it started."""

import os
import subprocess
import sys
import time

import psutil


def session_bytes(session: int) -> int:
    """Return the memory of a session's processes; shared pages count once (PSS)."""
    total = 0
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == session:
                total += process.memory_full_info().pss
        except (psutil.Error, OSError):
            continue  # it ended while it was looked at
    return total


def main() -> int:
    """Run the command line's arguments as a command and return its exit code."""
    began = time.monotonic()
    peak = 0
    # A session of its own holds everything the command starts, also what outlives its parent.
    with subprocess.Popen(sys.argv[1:], start_new_session=True) as command:
        while command.poll() is None:
            peak = max(peak, session_bytes(command.pid))
            time.sleep(0.5)
    print(f"wall time {time.monotonic() - began:.0f} s, peak memory {peak / 2**30:.2f} GiB")
    return command.returncode


if __name__ == "__main__":
    sys.exit(main())

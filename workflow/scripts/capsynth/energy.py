"""Energy that the machine's processors tell of, and the share of a job in it."""

import contextlib
import os
import re
import threading
from pathlib import Path

# Linux' powercap: Intel's RAPL, whose names AMD's processors have too. Often root's alone to read.
POWERCAP = Path("/sys/class/powercap")
PROC_STAT = Path("/proc/stat")
PACKAGE = re.compile(r"intel-rapl:\d+")
# A counter begins anew after 65 kJ at the least: after two minutes of 500 W.
READ_EVERY_S = 30.0


class EnergyMeter:
    """Adds up the energy of the machine's processors from when it is made."""

    def __init__(self, powercap: Path = POWERCAP, proc_stat: Path = PROC_STAT) -> None:
        self._proc_stat = proc_stat
        self._packages = [
            folder
            for folder in sorted(powercap.glob("intel-rapl:*"))
            if PACKAGE.fullmatch(folder.name) and _text(folder / "name").startswith("package")
        ]
        self._joules = 0.0
        self._lock = threading.Lock()
        self._ends = threading.Event()
        self._microjoules = [_number(folder / "energy_uj") for folder in self._packages]
        self._busy_s = _busy_seconds(proc_stat)
        self._is_known = bool(self._packages) and None not in self._microjoules
        if self._is_known:
            threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while not self._ends.wait(READ_EVERY_S):
            self.read()

    def read(self) -> None:
        """Add what was used since the last reading; a counter that fell has begun anew."""
        with self._lock:
            for place, folder in enumerate(self._packages):
                before, now = self._microjoules[place], _number(folder / "energy_uj")
                if before is None or now is None:
                    self._is_known = False
                    return
                begun_anew = (_number(folder / "max_energy_range_uj") or 0) if now < before else 0
                self._joules += (now - before + begun_anew) / 1e6
                self._microjoules[place] = now

    def stop(self, cpu_s: float) -> float | None:
        """Return a job's share of the joules, by its share of the machine's busy CPU time.

        Jobs that run at the same time share the processors: together they get what was used, and
        what an idle machine would have used with it.

        Args:
            cpu_s: CPU time of the job.

        Returns:
            None if the machine does not tell.
        """
        self._ends.set()
        if self._is_known:
            self.read()
        busy_s = _busy_seconds(self._proc_stat)
        if not self._is_known or busy_s is None or self._busy_s is None:
            return None
        others = max(busy_s - self._busy_s, cpu_s)
        return self._joules * cpu_s / others if others > 0 else 0.0


def _text(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text(encoding="ascii").strip()
    return ""


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.isdecimal() else None


def _busy_seconds(proc_stat: Path) -> float | None:
    """Return the CPU time of all processes since the machine was started; None if unknown."""
    name, *ticks = _text(proc_stat).partition("\n")[0].split() or [""]
    if name != "cpu" or len(ticks) < 7:
        return None
    user, nice, system, _idle, _waiting, interrupts, soft = map(int, ticks[:7])
    return (user + nice + system + interrupts + soft) / os.sysconf("SC_CLK_TCK")

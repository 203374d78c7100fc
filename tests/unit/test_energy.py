"""Energy of the processors, told by files as the kernel has them."""

import os
import threading
from pathlib import Path

import pytest
from waiting import BACKSTOP_S

from capsynth import energy
from capsynth.energy import EnergyMeter

TICKS = os.sysconf("SC_CLK_TCK")


class Machine:
    """Files as those of the kernel."""

    def __init__(self, folder: Path) -> None:
        self.powercap, self.stat = folder / "powercap", folder / "stat"
        self.busy(0)

    def busy(self, seconds: float) -> None:
        user = int(seconds * TICKS)
        self.stat.write_text(f"cpu  {user} 0 0 {10**6} 5 0 0 3 0 0\ncpu0 1 2 3 4\n")

    def counter(self, name: str, joules: float, about: str = "package-0") -> None:
        folder = self.powercap / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "name").write_text(f"{about}\n")
        (folder / "energy_uj").write_text(f"{int(joules * 1e6)}\n")
        (folder / "max_energy_range_uj").write_text("65000000000\n")

    def meter(self) -> EnergyMeter:
        return EnergyMeter(self.powercap, self.stat)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_job_gets_its_share_of_the_energy_of_all_packages(machine: Machine) -> None:
    machine.counter("intel-rapl:0", 100)
    machine.counter("intel-rapl:1", 7, "package-1")
    machine.busy(50)
    meter = machine.meter()
    machine.counter("intel-rapl:0", 160)
    machine.counter("intel-rapl:1", 27, "package-1")
    machine.busy(60)
    assert meter.stop(cpu_s=2.5) == pytest.approx(80 * 2.5 / 10)


def test_parts_of_a_package_and_the_whole_platform_are_not_counted_again(machine: Machine) -> None:
    for name, about in (("intel-rapl:0:0", "core"), ("intel-rapl:1", "psys")):
        machine.counter(name, 0, about)
    machine.counter("intel-rapl:0", 0)
    meter = machine.meter()
    for name, about in (("intel-rapl:0:0", "core"), ("intel-rapl:1", "psys")):
        machine.counter(name, 1000, about)
    machine.counter("intel-rapl:0", 10)
    machine.busy(1)
    assert meter.stop(cpu_s=1.0) == pytest.approx(10)


def test_a_counter_that_begins_anew_goes_on(machine: Machine) -> None:
    machine.counter("intel-rapl:0", 64_990)
    meter = machine.meter()
    machine.counter("intel-rapl:0", 5)
    meter.read()
    machine.counter("intel-rapl:0", 25)
    machine.busy(1)
    assert meter.stop(cpu_s=1.0) == pytest.approx(10 + 5 + 20)


def test_counters_are_read_while_a_job_runs(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(energy, "READ_EVERY_S", 0.001)
    machine.counter("intel-rapl:0", 0)
    meter = machine.meter()
    has_read = threading.Event()
    monkeypatch.setattr(meter, "read", has_read.set)
    assert has_read.wait(timeout=BACKSTOP_S)
    assert meter.stop(cpu_s=1.0) == 0.0


def test_a_machine_that_does_not_tell_tells_nothing(machine: Machine) -> None:
    assert machine.meter().stop(1.0) is None
    machine.counter("intel-rapl:0", 5)
    (machine.powercap / "intel-rapl:0" / "energy_uj").unlink()
    assert machine.meter().stop(1.0) is None
    machine.counter("intel-rapl:0", 5)
    meter = machine.meter()
    machine.stat.unlink()
    assert meter.stop(1.0) is None


def test_more_cpu_time_than_the_machine_counted_gets_all_of_it_and_no_more(
    machine: Machine,
) -> None:
    machine.counter("intel-rapl:0", 5)
    meter = machine.meter()
    machine.counter("intel-rapl:0", 15)
    assert meter.stop(cpu_s=0.5) == pytest.approx(10)

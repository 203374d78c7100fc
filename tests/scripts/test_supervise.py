"""The supervisor's processes, with stand-ins for Snakemake and for SLURM's commands."""

import fcntl
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from waiting import BACKSTOP_S, wait_until

SCRIPT = Path(__file__).parents[2] / "workflow" / "scripts" / "supervise.py"

# Long enough that a Snakemake at work does not seem to hang on a busy machine...
IDLE_S = 2
# ...and so many looks at the queue, with 0.1 s between two, that take longer than that.
LONG = 30

SQUEUE = """#!/bin/sh
echo >> "$FAKE/looks"
test -e "$FAKE/down" && { echo 'Unable to contact slurm controller' >&2; exit 1; }
cat "$FAKE/queue"
"""
# Cancelled jobs leave the queue, but for those that are named in $FAKE/undead.
SCANCEL = """#!/bin/sh
echo "$@" >> "$FAKE/scancel"
for word in "$@"; do
  grep -qx -- "$word" "$FAKE/undead" 2>/dev/null && continue
  sed -i "s/^$word|[A-Z]*|/$word|CANCELLED|/" "$FAKE/queue"
done
"""
SCONTROL = """#!/bin/sh
echo "$@" >> "$FAKE/scontrol"
"""
# Follows one line of $FAKE/play a start: words that are done in order.
SNAKEMAKE = """#!{python}
import os, signal, sys, time
from datetime import datetime
from pathlib import Path

fake = Path(os.environ["FAKE"])
with (fake / "snakemake").open("a") as calls:
    print(*sys.argv[1:], file=calls)
locks = Path(".snakemake/locks")
if "--unlock" in sys.argv:
    for lock in locks.iterdir():
        lock.unlink()
    sys.exit()
locks.mkdir(parents=True, exist_ok=True)
if any(locks.iterdir()):
    sys.exit("Directory cannot be locked")
(locks / "0.output.lock").touch()
folder = Path(".snakemake/log")
folder.mkdir(exist_ok=True)
log = (folder / f"{{datetime.now().isoformat()}}.snakemake.log").open("a", buffering=1)
prefix = sys.argv[sys.argv.index("--slurm-jobname-prefix") + 1]
date = "[Wed Nov 25 02:40:56 2026]"


def interrupted(number, frame):
    (fake / "interrupted").touch()
    (locks / "0.output.lock").unlink()
    sys.exit(1)


signal.signal(signal.SIGINT, interrupted)
plays = (fake / "play").read_text().splitlines()
(fake / "play").write_text("\\n".join(plays[1:]))
for word in plays[0].split():
    do, _, what = word.partition(":")
    job, _, state = what.partition("=")
    if do == "begin":
        print("Select jobs to execute...", file=log)
    elif do == "submit":
        with (fake / "queue").open("a") as queue:
            about = [job, state or "RUNNING", "None", f"{{prefix}}_uuid", os.getcwd()]
            print(*about, sep="|", file=queue)
        print(f"Job {{job}} has been submitted with SLURM jobid {{job}} (log: x).", file=log)
    elif do == "state":
        lines = [line.split("|") for line in (fake / "queue").read_text().splitlines()]
        lines = [[i, state if i == job else s, *more] for i, s, *more in lines]
        (fake / "queue").write_text("".join("|".join(line) + "\\n" for line in lines))
    elif do == "finish":
        print(f"{{date}}\\nFinished jobid: {{job}} (Rule: r)", file=log)
    elif do == "fail":
        print(f"{{date}}\\nError in rule r{{job}}:\\n    message: None\\n    jobid: {{job}}\\n"
              f"    log: logs/{{job}}.log (check log file(s) for error details)", file=log)
    elif do == "forget":
        (fake / "queue").write_text("")
    elif do == "looks":
        # The supervisor pauses between two looks at the queue: so many take at least that time.
        after = (fake / "looks").read_text().count("\\n") + int(what)
        while (fake / "looks").read_text().count("\\n") < after:
            time.sleep(0.02)
    elif do == "local":
        import subprocess
        waits = ["sh", "-c", "read line"]
        child = subprocess.Popen(waits, stdin=subprocess.PIPE)
        after = (fake / "looks").read_text().count("\\n") + int(what)
        while (fake / "looks").read_text().count("\\n") < after:
            time.sleep(0.02)
        child.communicate()
    elif do == "deaf":
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    elif do == "hang":
        (fake / "hangs").touch()
        while True:
            time.sleep(100)
    elif do == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    elif do == "exit":
        (locks / "0.output.lock").unlink()
        sys.exit(int(what))
"""


class Place:
    """A folder in which a supervisor runs, and what the stand-ins know and were asked."""

    def __init__(self, root: Path) -> None:
        self.folder, self.fake, tools = root / "run", root / "fake", root / "bin"
        for folder in (self.folder, self.fake, tools):
            folder.mkdir()
        for name, text in (
            ("squeue", SQUEUE),
            ("scancel", SCANCEL),
            ("scontrol", SCONTROL),
            ("snakemake", SNAKEMAKE.format(python=sys.executable)),
        ):
            (tools / name).write_text(text)
            (tools / name).chmod(0o755)
        self.write_queue()
        self.environment = {
            **os.environ,
            "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
            "FAKE": os.fspath(self.fake),
        }
        self.started: list[subprocess.Popen[str]] = []

    def write_queue(self, *jobs: str) -> None:
        """Set the queue: each job as ``id|STATE``, of this folder."""
        text = "".join(f"{job}|None|capsynth_old|{self.folder}\n" for job in jobs)
        (self.fake / "queue").write_text(text)

    def play(self, *starts: str) -> None:
        """Set what Snakemake does at each start."""
        (self.fake / "play").write_text("\n".join(starts))

    def start(self, *options: str, command: str = "snakemake --profile p") -> subprocess.Popen[str]:
        """Start a supervisor that has little patience with what makes no difference here."""
        quick = ["--poll-s=0.1", f"--idle-s={IDLE_S}", "--pause-s=0.1", "--grace-s=600"]
        words = [*quick, *options, *(["--", *command.split()] if command else [])]
        process = subprocess.Popen(
            [sys.executable, SCRIPT, *words],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.started.append(process)
        return process

    def run(self, *options: str, command: str = "snakemake --profile p") -> tuple[int, str]:
        """Run a supervisor to its end: exit code and what it said."""
        process = self.start(*options, command=command)
        said, _ = process.communicate(timeout=BACKSTOP_S)
        return process.returncode, said

    def asked(self, program: str) -> list[str]:
        """Return the command lines of a stand-in so far."""
        path = self.fake / program
        return path.read_text().splitlines() if path.exists() else []

    @property
    def is_locked(self) -> bool:
        """Whether Snakemake's lock lies in the folder."""
        locks = self.folder / ".snakemake" / "locks"
        return locks.is_dir() and any(locks.iterdir())

    def wait_until(self, condition: Callable[[], object]) -> None:
        """Wait for something to come true; the supervisor goes on."""

        def has_come() -> object:
            return condition() or any(p.poll() is not None for p in self.started)

        wait_until(has_come)
        assert condition()

    def wait_for_looks(self, number: int) -> None:
        """Wait until the supervisor has looked at the queue so many more times."""
        path = self.fake / "looks"
        after = (path.read_text().count("\n") if path.exists() else 0) + number
        self.wait_until(lambda: path.exists() and path.read_text().count("\n") >= after)

    def wait_for_hang(self) -> None:
        """Wait until Snakemake does nothing any more."""
        self.wait_until((self.fake / "hangs").exists)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    for process in place.started:
        process.kill()
        process.communicate()


RUN = "--profile p --slurm-jobname-prefix capsynth"


def test_a_run_without_faults_is_snakemake_alone(place: Place) -> None:
    place.play("submit:1 finish:1 state:1=COMPLETED exit:0")
    exit_code, said = place.run()
    assert exit_code == 0, said
    assert place.asked("snakemake") == [RUN]
    assert place.asked("scancel") == []
    log = (place.folder / "logs" / "supervise.log").read_text()
    assert "starting: snakemake" in log
    assert "Snakemake is done" in log


def test_before_it_starts_the_jobs_and_locks_of_an_earlier_start_go(place: Place) -> None:
    place.write_queue("7|RUNNING", "8|PENDING", "9|COMPLETED")
    other = f"5|RUNNING|None|capsynth_x|{place.folder}2\n6|RUNNING|None|mine|{place.folder}\n"
    with (place.fake / "queue").open("a") as queue:
        queue.write(other)
    (place.folder / ".snakemake" / "locks").mkdir(parents=True)
    (place.folder / ".snakemake" / "locks" / "0.input.lock").touch()
    place.play("exit:0")
    exit_code, said = place.run()
    assert exit_code == 0, said
    assert place.asked("scancel") == ["7 8"]
    assert other in (place.fake / "queue").read_text()
    assert place.asked("snakemake") == [f"{RUN} --unlock", RUN]


def test_a_killed_snakemake_is_started_again_after_its_jobs_and_lock_are_gone(
    place: Place,
) -> None:
    place.play("submit:1 submit:2 finish:2 state:2=COMPLETED die", "submit:3 finish:1 exit:0")
    exit_code, said = place.run()
    assert exit_code == 0, said
    assert place.asked("snakemake") == [RUN, f"{RUN} --unlock", RUN]
    assert place.asked("scancel") == ["1"]
    assert "Snakemake was ended by signal 9" in said


# The last is lost before anybody has looked.
@pytest.mark.parametrize(
    ("deaf", "loss"),
    [
        ("", "looks:2 state:1=PREEMPTED"),
        ("", "looks:2 state:1=CANCELLED"),
        ("deaf ", "looks:2 forget"),
        ("", "forget"),
    ],
)
def test_a_snakemake_that_waits_for_lost_jobs_is_stopped_and_started_again(
    place: Place, deaf: str, loss: str
) -> None:
    place.play(f"{deaf}begin submit:1 {loss} hang", "submit:2 finish:1 exit:0")
    exit_code, said = place.run(f"--grace-s={0.2 if deaf else 600}")
    assert exit_code == 0, said
    assert "Snakemake hung" in said
    starts = [call for call in place.asked("snakemake") if "--unlock" not in call]
    assert starts == [RUN, RUN]
    assert ("sending SIGKILL" in said) is bool(deaf)
    assert (place.fake / "interrupted").exists() is not bool(deaf)


def test_a_snakemake_that_waits_or_works_is_left_alone(place: Place) -> None:
    place.play(
        f"looks:{LONG} begin submit:1=PENDING looks:{LONG} state:1=SUSPENDED looks:{LONG} "
        f"state:1=COMPLETED finish:1 local:{LONG} submit:2 looks:2 state:2=COMPLETED finish:2 "
        "exit:0"
    )
    exit_code, said = place.run()
    assert exit_code == 0, said
    assert place.asked("snakemake") == [RUN]


def test_a_silent_controller_is_no_reason_to_stop_anything(place: Place) -> None:
    place.play("begin submit:1 hang")
    process = place.start()
    log = place.folder / "logs" / "supervise.log"
    place.wait_until(lambda: log.exists() and "queue: 1 running" in log.read_text())
    (place.fake / "down").touch()
    (place.fake / "queue").write_text("")
    place.wait_for_looks(LONG)
    assert process.poll() is None
    assert place.asked("snakemake") == [RUN]
    place.play("exit:0")
    (place.fake / "down").unlink()
    assert process.wait(BACKSTOP_S) == 0
    assert place.asked("snakemake") == [RUN, RUN]


def test_a_silent_controller_is_waited_for_before_a_start(place: Place) -> None:
    (place.fake / "down").touch()
    place.play("exit:0")
    process = place.start()
    log = place.folder / "logs" / "supervise.log"
    place.wait_until(lambda: log.exists() and "does not answer; waiting" in log.read_text())
    assert place.asked("snakemake") == []
    (place.fake / "down").unlink()
    assert process.wait(BACKSTOP_S) == 0
    assert place.asked("snakemake") == [RUN]


def test_after_a_long_silence_jobs_of_an_earlier_start_get_their_time_to_go(place: Place) -> None:
    (place.fake / "down").touch()
    place.write_queue("7|RUNNING")
    place.play("exit:0")
    process = place.start("--gone-s=1")
    log = place.folder / "logs" / "supervise.log"
    place.wait_until(lambda: log.exists() and "does not answer; waiting" in log.read_text())
    place.wait_for_looks(15)  # longer than its jobs get to leave the queue
    (place.fake / "down").unlink()
    assert process.wait(BACKSTOP_S) == 0
    assert place.asked("scancel") == ["7"]


def test_ctrl_c_again_ends_it_though_the_controller_is_silent(place: Place) -> None:
    (place.fake / "down").touch()
    process = place.start()
    log = place.folder / "logs" / "supervise.log"
    for after in ("does not answer; waiting", "stopping Snakemake and its jobs"):
        place.wait_until(lambda after=after: log.exists() and after in log.read_text())
        process.send_signal(signal.SIGINT)
    assert process.wait(BACKSTOP_S) == 130
    assert "call with --cancel for jobs that are left" in log.read_text()


def test_jobs_that_failed_by_themselves_end_it_with_snakemakes_exit_code_and_their_logs(
    place: Place,
) -> None:
    place.play("submit:1 submit:2 finish:2 state:2=COMPLETED state:1=FAILED fail:1 exit:3")
    exit_code, said = place.run()
    assert exit_code == 3
    assert place.asked("snakemake") == [RUN]
    assert "failed: r1; see logs/1.log" in said
    assert "r2" not in said


def test_jobs_that_a_snakemake_leaves_which_ends_by_an_error_are_cancelled(place: Place) -> None:
    place.play("begin submit:1 submit:2 state:2=COMPLETED exit:1")
    exit_code, _ = place.run()
    assert exit_code == 1
    assert place.asked("snakemake") == [RUN]
    assert place.asked("scancel") == ["1"]


def test_an_error_of_its_own_leaves_neither_a_snakemake_nor_jobs(place: Place) -> None:
    place.play("submit:1 hang")
    process = place.start("--idle-s=600")
    place.wait_for_hang()
    (log,) = (place.folder / ".snakemake" / "log").iterdir()
    log.unlink()
    log.mkdir()  # what it reads cannot be read
    assert process.wait(BACKSTOP_S) == 1
    assert (place.fake / "interrupted").exists()
    assert place.asked("scancel") == ["1"]
    assert not place.is_locked


def test_jobs_that_were_taken_away_are_tried_again_but_not_for_ever(place: Place) -> None:
    lost = "submit:{0} looks:2 state:{0}=CANCELLED fail:{0} exit:1"
    place.play(*(lost.format(n) for n in range(1, 9)))
    exit_code, said = place.run("--restarts=2")
    assert exit_code == 1
    assert place.asked("snakemake") == [RUN] * 3
    assert "taken away in their last attempt: 1 CANCELLED" in said
    assert "all restarts are used up" in said


def test_a_finished_job_refills_the_restarts_up_to_their_overall_bound(place: Place) -> None:
    place.play(*(f"submit:{n} finish:{n} die" for n in range(1, 9)))
    exit_code, _ = place.run("--restarts=1", "--restarts-in-all=3")
    assert exit_code == 128 + signal.SIGKILL
    assert [call for call in place.asked("snakemake") if "--unlock" not in call] == [RUN] * 4


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_stopped_it_stops_snakemake_and_all_jobs_and_leaves_the_folder_unlocked(
    place: Place, number: signal.Signals
) -> None:
    place.play("submit:1 submit:2=PENDING hang")
    process = place.start("--idle-s=600")
    place.wait_for_hang()
    process.send_signal(number)
    assert process.wait(BACKSTOP_S) == 128 + number
    assert (place.fake / "interrupted").exists()
    assert place.asked("scancel") == ["1 2"]
    assert not place.is_locked
    assert (place.folder / "results" / ".supervise.lock").read_text() == ""


def test_a_snakemake_that_does_not_hear_is_killed_at_the_second_ctrl_c(place: Place) -> None:
    place.play("deaf submit:1 hang")
    process = place.start("--idle-s=600", "--grace-s=600")
    place.wait_for_hang()
    log = place.folder / "logs" / "supervise.log"
    for after in ("", "sending SIGINT", "sending SIGTERM"):
        place.wait_until(lambda after=after: after in log.read_text())
        process.send_signal(signal.SIGINT)
    assert process.wait(BACKSTOP_S) == 130
    assert not place.is_locked
    assert place.asked("scancel") == ["1"]


def test_nohup_keeps_it_from_a_lost_connection(place: Place) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        place.play("submit:1 hang")
        process = place.start("--idle-s=600")
    finally:
        signal.signal(signal.SIGHUP, before)
    place.wait_for_hang()
    process.send_signal(signal.SIGHUP)
    place.wait_for_looks(3)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(BACKSTOP_S) == 143


def test_killed_itself_it_takes_snakemake_along_and_goes_on_when_called_again(
    place: Place,
) -> None:
    place.play("submit:1 deaf hang", "submit:2 finish:1 exit:0")
    process = place.start("--idle-s=600")
    place.wait_for_hang()
    (child,) = (p for p in psutil.Process(process.pid).children() if p.name() == "snakemake")
    process.kill()
    exit_code, said = place.run()
    assert exit_code == 0, said
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
    assert place.asked("scancel") == ["1"]
    assert place.asked("snakemake") == [RUN, f"{RUN} --unlock", RUN]


def test_a_second_supervisor_is_refused_with_who_holds_the_folder(place: Place) -> None:
    place.play("submit:1 hang")
    process = place.start("--idle-s=600")
    place.wait_for_hang()
    for options, command in (((), "snakemake --profile p"), (("--cancel",), "")):
        exit_code, said = place.run(*options, command=command)
        assert exit_code == 1
        assert f"host {platform.node()}, process {process.pid}, since 20" in said
        assert f"`kill -INT {process.pid}`" in said
    assert process.poll() is None
    assert place.asked("snakemake") == [RUN]
    assert place.asked("scancel") == []


def test_a_plain_snakemake_at_work_is_not_disturbed(place: Place) -> None:
    place.play("submit:1 hang")
    plain = subprocess.Popen(
        ["snakemake", *RUN.split()], cwd=place.folder, env=place.environment, text=True
    )
    place.started.append(plain)
    place.wait_for_hang()
    exit_code, said = place.run()
    assert exit_code == 1
    assert f"Snakemake works in this folder already (process {plain.pid})" in said
    assert f"`kill -INT {plain.pid}`" in said
    assert plain.poll() is None
    assert place.is_locked
    assert place.asked("scancel") == []


def record(place: Place, silence_s: float) -> None:
    """Leave what a supervisor of another host writes."""
    path = place.folder / "results" / ".supervise.lock"
    path.parent.mkdir()
    path.write_text(json.dumps({"host": "login2", "pid": 7, "since": "2026-11-25 02:40:50+00:00"}))
    os.utime(path, (time.time() - silence_s,) * 2)


def test_a_supervisor_of_another_host_is_respected_while_it_gives_signs_of_life(
    place: Place,
) -> None:
    record(place, silence_s=60)
    exit_code, said = place.run()
    assert exit_code == 1
    assert "host login2, process 7, since 2026-11-25 02:40:50" in said
    assert "on login2: `kill -INT 7`" in said
    assert place.asked("snakemake") == []


def test_a_dead_supervisor_of_another_host_and_its_snakemake_are_cleaned_up_after(
    place: Place,
) -> None:
    record(place, silence_s=600)
    leave_lock(place, "login2")
    place.play("exit:0")
    exit_code, said = place.run()
    assert exit_code == 0, said
    assert place.asked("snakemake") == [f"{RUN} --unlock", RUN]


def leave_lock(place: Place, host: str) -> None:
    """Leave what a killed Snakemake of a host leaves."""
    for name in ("locks/0.input.lock", "log/2026-11-25T024050.snakemake.log"):
        path = place.folder / ".snakemake" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"SNAKEMAKE\n=========\n  Host: {host}\n")


def test_a_lock_of_a_snakemake_on_another_host_is_taken_over_only_on_demand(place: Place) -> None:
    leave_lock(place, "login2")
    place.play("exit:0")
    exit_code, said = place.run()
    assert exit_code == 1
    assert "locked by a Snakemake of host login2" in said
    assert "--take-over" in said
    assert place.asked("snakemake") == []
    exit_code, said = place.run("--take-over")
    assert exit_code == 0, said
    assert place.asked("snakemake") == [f"{RUN} --unlock", RUN]


def test_cancel_waits_until_the_jobs_are_gone(place: Place) -> None:
    place.write_queue("7|RUNNING", "8|COMPLETING")
    (place.fake / "undead").write_text("8\n")
    process = place.start("--cancel", command="")
    place.wait_until(lambda: place.asked("scancel"))
    place.wait_for_looks(3)
    assert process.poll() is None
    (place.fake / "undead").unlink()
    place.write_queue("8|CANCELLED")
    assert process.wait(BACKSTOP_S) == 0
    assert place.asked("snakemake") == []


def test_jobs_that_do_not_go_keep_it_from_starting_unless_their_node_is_silent(
    place: Place,
) -> None:
    (place.fake / "undead").write_text("7\n")
    place.play("exit:0")
    place.write_queue("7|RUNNING")
    exit_code, said = place.run("--gone-s=1")
    assert exit_code == 1
    assert "jobs 7 of this folder do not leave the queue" in said
    assert place.asked("snakemake") == []
    place.write_queue("7|COMPLETING")
    exit_code, said = place.run("--gone-s=1")
    assert exit_code == 0, said
    assert "going on without them" in said


def test_a_held_job_is_released(place: Place) -> None:
    place.write_queue()
    place.play("submit:1=PENDING hang")
    process = place.start("--idle-s=600")
    place.wait_for_hang()
    held = f"1|PENDING|launch failed requeued held|capsynth_uuid|{place.folder}\n"
    (place.fake / "queue").write_text(held)
    place.wait_until(lambda: len(place.asked("scontrol")) == 3)
    place.wait_for_looks(3)
    assert place.asked("scontrol") == ["release 1"] * 3
    assert process.poll() is None


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("", "there is no command"),
        ("snakemake --directory elsewhere", "--directory is not supported"),
        ("snakemake --profile p -n", "it needs no supervisor"),
        ("no-such-program", "no-such-program cannot be run"),
    ],
)
def test_a_command_that_cannot_be_supervised_is_refused(
    place: Place, command: str, message: str
) -> None:
    exit_code, said = place.run(command=command)
    assert exit_code in (1, 2)
    assert message in said


def test_a_machine_without_slurm_is_told_so(place: Place) -> None:
    for name in ("squeue", "scancel", "scontrol"):
        (Path(place.environment["PATH"].split(os.pathsep)[0]) / name).unlink()
    place.environment["PATH"] = place.environment["PATH"].split(os.pathsep)[0]
    exit_code, said = place.run()
    assert exit_code == 1
    assert "squeue is not on PATH; run this on a login node" in said


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("slurm", "supervise.py -- snakemake --profile profiles/slurm --forcerun a"),
        ("slurm-cancel", "supervise.py --cancel"),
    ],
)
def test_make_runs_it_with_the_profile(repository: Path, target: str, words: str) -> None:
    own = ("MAKEFLAGS", "MAKELEVEL", "VENV", "CORES", "PYTHONS", "PYTEST_ARGS", "SNAKEMAKE_ARGS")
    made = subprocess.run(
        ["make", "--dry-run", target, "SNAKEMAKE_ARGS=--forcerun a"],
        cwd=repository,
        env={name: value for name, value in os.environ.items() if name not in own},
        check=True,
        capture_output=True,
        text=True,
    )
    assert words in " ".join(made.stdout.replace("\\\n", " ").split())


def test_the_lock_goes_with_its_process_on_one_host(place: Place) -> None:
    path = place.folder / "results" / ".supervise.lock"
    path.parent.mkdir()
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        exit_code, said = place.run()
        assert exit_code == 1
        assert "another supervisor is just starting here" in said
    place.play("exit:0")
    exit_code, said = place.run()
    assert exit_code == 0, said

"""What the supervisor decides, on plain values."""

import pytest

from capsynth.supervision import (
    ENDED,
    HOPELESS,
    RELEASES,
    Budget,
    Failure,
    Holder,
    Job,
    Story,
    Watch,
    describe,
    is_alive,
    is_busy,
    is_snakemake,
    log_host,
    moves_folder,
    own_jobs,
    parse_queue,
    prefix_of,
    read_log,
    reason_to_restart,
    with_options,
    with_prefix,
)

# Snakemake 9.27 with plugin 2.8.0, shortened.
LOG = """
SNAKEMAKE
=========
  Date: 2026-11-25 02:40:50
  Host: login1
Building DAG of jobs...
[Wed Nov 25 02:40:50 2026]
rule a:
    output: a
    log: logs/a.log
    jobid: 1
Job 1 has been submitted with SLURM jobid 3 (log: /x/logs/slurm/rule_a/3.log).
Job 2 has been submitted with SLURM jobid 2 (log: /x/logs/slurm/rule_b/2.log).
Job 3aed5d0d-1826 has been submitted with SLURM jobid 1 (log: /x/logs/slurm/group_cd/1.log).
[Wed Nov 25 02:40:56 2026]
Error in rule a:
    message: SLURM-job '3' failed, SLURM status is: 'FAILED'. Detailed failure reason unavailable
    jobid: 1
    output: a
    log: logs/a.log, /x/logs/slurm/rule_a/3.log (check log file(s) for error details)
    external_jobid: 3
Logfile logs/a.log:
===================
boo
===================
Logfile /x/logs/slurm/rule_a/3.log:
================================================================================
  Host: node1
[Wed Nov 25 02:40:53 2026]
Error in rule inner:
    message: None
    jobid: 77
    log: logs/inner.log (check log file(s) for error details)
Finished jobid: 78 (Rule: inner)
================================================================================
Trying to restart job 1.
Job 1 has been submitted with SLURM jobid 4 (log: /x/logs/slurm/rule_a/4.log).
[Wed Nov 25 02:40:57 2026]
    message: Error in group cd
    log: /x/logs/slurm/group_cd/1.log (check log file(s) for error details)
    jobs:
        rule d:
            jobid: 3
            log: logs/d.log (check log file(s) for error details)
    [Wed Nov 25 02:40:57 2026]
    Error in rule d:
        message: None
        jobid: 3
        log: logs/d.log (check log file(s) for error details)
    Logfile logs/d.log:
    ===================
    bad
    ===================
[Wed Nov 25 02:40:59 2026]
Error in rule b:
    message: SLURM-job '2' failed, SLURM status is: 'CANCELLED'. Detailed failure reason unavailable
    jobid: 2
    log: /x/logs/slurm/rule_b/2.log (check log file(s) for error details)
Trying to restart job 2.
Job 2 has been submitted with SLURM jobid 6 (log: /x/logs/slurm/rule_b/6.log).
[Wed Nov 25 02:41:23 2026]
Finished jobid: 2 (Rule: b)
1 of 6 steps (17%) done
"""
SBATCH_FAILED = """
[Wed Nov 25 02:40:50 2026]
Error in rule e:
    message: SLURM sbatch failed. The error message was 'sbatch: error: {first}
sbatch: error: Batch job submission failed: {second}'.
    sbatch call:
        sbatch --parsable --comment "Unable to contact slurm controller"
    jobid: 5
    output: e
"""


def job(job_id: str = "1", state: str = "RUNNING", reason: str = "None") -> Job:
    return Job(job_id, state, reason, "capsynth_abc", "/x")


def test_only_jobs_of_this_folder_and_prefix_are_its_own() -> None:
    text = (
        "1|RUNNING|None|capsynth_5f|/data/run\n"
        "2|RUNNING|None|capsynth_5f|/data/run2\n"
        "3|PENDING|(Nodes required for job are DOWN)|capsynth_5f|/data/run\n"
        "4|RUNNING|None|capsynthesis|/data/run\n"
        "5|RUNNING|None|other_5f|/data/run\n"
        "6|RUNNING|None|capsynth_5f|/data/a|b\n"
        "slurm_load_jobs: a line of another kind\n"
    )
    jobs = parse_queue(text)
    assert len(jobs) == 6
    assert [job.job_id for job in own_jobs(jobs, "capsynth", "/data/run")] == ["1", "3"]
    assert [job.job_id for job in own_jobs(jobs, "capsynth", "/data/a|b")] == ["6"]


@pytest.mark.parametrize(
    "state",
    "PENDING RUNNING CONFIGURING COMPLETING SUSPENDED REQUEUED REQUEUE_HOLD SPECIAL_EXIT "
    "STOPPED RESIZING SIGNALING STAGE_OUT A_STATE_OF_A_LATER_SLURM".split(),
)
def test_a_job_that_may_go_on_keeps_snakemake_from_being_stopped(state: str) -> None:
    watch = Watch(idle_s=600)
    for now in range(0, 36_000, 300):
        assert not watch.is_hung(now, [job("1", "PREEMPTED"), job("2", state)], busy=False)


@pytest.mark.parametrize("state", sorted(ENDED))
def test_snakemake_hangs_when_all_its_jobs_have_ended_for_long(state: str) -> None:
    watch = Watch(idle_s=600)
    looks = [watch.is_hung(now, [job(state=state)], busy=False) for now in (0, 300, 599, 600)]
    assert looks == [False, False, False, True]


def test_jobs_that_the_controller_forgot_are_lost_too() -> None:
    watch = Watch(idle_s=60)
    assert not watch.is_hung(0, [job()], busy=False)
    assert not watch.is_hung(30, [], busy=False)
    assert watch.is_hung(90, [], busy=False)


def test_work_of_snakemake_itself_and_new_jobs_start_the_wait_anew() -> None:
    watch = Watch(idle_s=60)
    ended = [job(state="COMPLETED")]
    assert not watch.is_hung(0, ended, busy=False)
    assert not watch.is_hung(59, ended, busy=True)
    assert not watch.is_hung(61, ended, busy=False)
    assert not watch.is_hung(120, [*ended, job("2")], busy=False)
    assert not watch.is_hung(150, ended, busy=False)
    assert not watch.is_hung(209, ended, busy=False)
    assert watch.is_hung(210, ended, busy=False)


def test_a_queue_that_cannot_be_read_says_nothing() -> None:
    watch = Watch(idle_s=60)
    assert not watch.is_hung(0, [job()], busy=False)
    for now in range(30, 3000, 30):
        assert not watch.is_hung(now, None, busy=False)
    # What it missed meanwhile it must see for the whole time again.
    assert not watch.is_hung(3000, [], busy=False)
    assert not watch.is_hung(3059, [], busy=False)
    assert watch.is_hung(3060, [], busy=False)


def test_before_its_first_job_snakemake_may_take_any_time() -> None:
    watch = Watch(idle_s=60)
    assert not any(watch.is_hung(now, [], busy=False) for now in range(0, 9000, 30))


def test_a_held_job_is_released_some_times_and_then_given_up() -> None:
    watch = Watch(idle_s=60)
    held = [job(state="PENDING", reason="launch failed requeued held")]
    for now in range(RELEASES):
        assert watch.to_release(held) == ["1"]
        assert not watch.is_hung(now * 100, held, busy=False)
    assert watch.to_release(held) == []
    assert not watch.is_hung(259, held, busy=False)
    assert watch.is_hung(260, held, busy=False)  # 60 s after the last release


def test_a_job_that_its_user_holds_is_left_alone_and_waited_for() -> None:
    watch = Watch(idle_s=60)
    held = [job(state="PENDING", reason="JobHeldUser")]
    assert watch.to_release(held) == []
    assert not any(watch.is_hung(now, held, busy=False) for now in range(0, 9000, 30))


@pytest.mark.parametrize("reason", sorted(HOPELESS))
def test_what_can_never_start_is_not_waited_for(reason: str) -> None:
    watch = Watch(idle_s=60)
    assert not watch.is_hung(0, [job(state="PENDING", reason=reason)], busy=False)
    assert watch.is_hung(60, [job(state="PENDING", reason=reason)], busy=False)


@pytest.mark.parametrize(
    ("cpu_s", "children", "busy"),
    [
        (0.2, [], False),
        (0.2, ["squeue"], False),
        (0.2, ["squeue", "sacct"], False),
        (0.2, ["bash", "python"], True),
        (9.0, [], True),
    ],
)
def test_snakemake_is_busy_with_cpu_time_or_a_local_job(
    cpu_s: float, children: list[str], busy: bool
) -> None:
    assert is_busy(cpu_s, 30, children) is busy


def test_the_queue_in_words() -> None:
    jobs = [job(), job(), job(state="PENDING", reason="Priority"), job(state="COMPLETED")]
    assert describe(jobs) == "1 pending (Priority), 2 running"
    assert describe([job(state="PREEMPTED")]) == "no job"


def test_the_log_tells_what_failed_in_the_end_and_what_was_finished() -> None:
    story = read_log(LOG)
    assert story.finished == 1
    # b was made by a later attempt; what the shown logs of jobs say is not Snakemake's own.
    assert story.failures == (
        Failure("a", "logs/a.log, /x/logs/slurm/rule_a/3.log"),
        Failure("d", "logs/d.log"),
    )
    assert story.last_attempts == {"4", "6", "1"}
    assert not story.unsubmitted
    assert not story.locked
    assert log_host(LOG) == "login1"
    assert log_host("no head") is None


@pytest.mark.parametrize(
    ("first", "second", "transient"),
    [
        ("invalid partition specified: nope", "Invalid partition name specified", False),
        ("x", "Unable to contact slurm controller (connect failure)", True),
        ("x", "Socket timed out on send/recv operation", True),
        ("x", "Requested node configuration is not available", False),
    ],
)
def test_a_job_that_could_not_be_submitted_is_worth_a_restart_only_if_the_controller_was_away(
    first: str, second: str, transient: bool
) -> None:
    story = read_log(SBATCH_FAILED.format(first=first, second=second))
    assert story.failures == (Failure("e", "no log"),)
    assert story.unsubmitted is transient
    assert (reason_to_restart(1, story, {}) is not None) is transient


def test_a_job_whose_account_could_not_be_checked_is_worth_a_restart_too() -> None:
    story = read_log("""
[Wed Nov 25 03:21:19 2026]
Error in rule b:
    message: Job submission failed with exception: The 'sacctmgr' reported: 'Unable to test
.' and likewise 'sshare' reported: 'Unable to contact slurm controller (connect failure)
.'.For further error details see the cluster/cloud log and the log files of the involved rule(s).
    jobid: 2
    shell:
        echo connection refused
""")
    assert story.unsubmitted


def test_jobs_that_failed_by_themselves_end_the_run_whatever_else_was_finished() -> None:
    story = Story(finished=99, failures=(Failure("a", "x"),), last_attempts=frozenset("12"))
    for state in ("FAILED", "TIMEOUT", "OUT_OF_MEMORY"):
        assert reason_to_restart(1, story, {"1": state, "2": "COMPLETED"}) is None


@pytest.mark.parametrize("state", ["CANCELLED", "NODE_FAIL", "PREEMPTED", "BOOT_FAIL"])
def test_jobs_that_were_taken_away_in_their_last_attempt_are_tried_again(state: str) -> None:
    story = Story(failures=(Failure("a", "x"),), last_attempts=frozenset("12"))
    reason = reason_to_restart(1, story, {"1": state, "2": "FAILED"})
    assert reason is not None
    assert f"1 {state}" in reason
    # The first attempt of a job was taken away, the last one failed by itself.
    assert reason_to_restart(1, story, {"0": state, "1": "FAILED", "2": "FAILED"}) is None


def test_a_killed_snakemake_is_started_again_and_a_locked_out_one_is_not() -> None:
    assert reason_to_restart(-9, Story(), {}) == "Snakemake was ended by signal 9"
    locked = read_log("LockException:\nError: Directory cannot be locked. Please make sure\n")
    assert locked.locked
    assert reason_to_restart(1, locked, {"1": "CANCELLED"}) is None
    assert reason_to_restart(0, Story(), {}) is None
    assert reason_to_restart(1, Story(), {}) is None  # an error of the workflow itself


def test_pauses_grow_until_a_job_is_finished_and_restarts_have_two_bounds() -> None:
    budget = Budget(in_a_row=3, in_all=6, pause_s=30)
    assert [budget.next_pause(0) for _ in range(4)] == [30, 60, 120, None]
    budget = Budget(in_a_row=3, in_all=6, pause_s=30)
    assert [budget.next_pause(n) for n in (0, 0, 5, 0, 0, 2, 7)] == [30, 60, 30, 60, 120, 30, None]
    assert Budget(in_a_row=9, in_all=9, pause_s=500).next_pause(0) == 500
    long = Budget(in_a_row=99, in_all=99, pause_s=30)
    assert [long.next_pause(0) for _ in range(20)][-1] == 600


def test_the_command_gets_a_prefix_unless_it_has_one() -> None:
    plain = ["snakemake", "--profile", "slurm", "--config", "a=b"]
    assert with_prefix(plain) == [*plain, "--slurm-jobname-prefix", "capsynth"]
    assert with_prefix(["snakemake", "--", "all"]) == [
        "snakemake", "--slurm-jobname-prefix", "capsynth", "--", "all",
    ]  # fmt: skip
    for own in (["--slurm-jobname-prefix", "mine"], ["--slurm-jobname-prefix=mine"]):
        assert with_prefix([*plain, *own]) == [*plain, *own]
        assert prefix_of([*plain, *own]) == "mine"
    assert with_options(["snakemake", "all"], "--unlock") == ["snakemake", "all", "--unlock"]


def test_a_command_for_another_folder_is_noticed() -> None:
    assert moves_folder(["snakemake", "-d", "x"])
    assert moves_folder(["snakemake", "--directory=x"])
    assert not moves_folder(["snakemake", "--dry-run"])


@pytest.mark.parametrize(
    ("line", "makes_files"),
    [
        ("snakemake --profile slurm", True),
        ("/env/bin/python3.11 /env/bin/snakemake --cores 2", True),
        ("python -m snakemake --cores 2", True),
        ("python -u -m snakemake --cores 2", True),
        ("python -m snakemake --target-jobs a: --mode remote", False),
        ("snakemake -n", False),
        ("snakemake --profile slurm --dry-run", False),
        ("python supervise.py -- snakemake --profile slurm", False),
        ("python -m pytest snakemake", False),
        ("vim snakemake", False),
        ("", False),
    ],
)
def test_a_snakemake_that_makes_files_is_recognised(line: str, makes_files: bool) -> None:
    assert is_snakemake(line.split()) is makes_files


def test_a_record_counts_while_its_process_lives_or_elsewhere_gives_signs_of_life() -> None:
    here, there = Holder("here", 7, "now"), Holder("there", 7, "now")
    assert is_alive(here, "here", {7}, silence_s=1e6)
    assert not is_alive(here, "here", {8}, silence_s=0)
    assert is_alive(there, "here", {8}, silence_s=60)
    assert not is_alive(there, "here", {7}, silence_s=200)

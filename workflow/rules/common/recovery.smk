# What is kept to resume a run, and what a killed Snakemake leaves unrecorded.
from capsynth.resuming import clear_leftovers

# There while a run is under way, and after one whose Snakemake was killed.
RUN_MARKER = Path("results/.running")


def begin_recovery():
    """Note that a run begins; refuse to go on after a killed one whose results have no record.

    Jobs on a cluster outlive a Snakemake that is killed. What they finish has no record of its
    params, so a later change of those would not be noticed: such results are marked incomplete.

    Raises:
        WorkflowError: If there are any. The next start makes them again, the costly ones from what
            is kept of them.
    """
    if not _makes_results():
        return
    if RUN_MARKER.exists():
        unrecorded = _unrecorded_jobs(RUN_MARKER.stat().st_mtime)
        if unrecorded:
            for job in unrecorded:
                workflow.persistence.started(job)
            raise WorkflowError(
                f"{len(unrecorded)} results were finished after their Snakemake was killed, "
                "so nobody noted how they were made. They are marked as incomplete: run the same "
                "command once more, with --rerun-incomplete unless a profile has it. What is "
                "finished of captions, images and trainings is taken over, not made again."
            )
    write_if_changed(RUN_MARKER, "")


def _unrecorded_jobs(since):
    """Jobs that are taken as done, with an output written after ``since`` that has no record."""
    jobs = []
    for job in workflow.dag.jobs:
        if workflow.dag.needrun(job):
            continue
        for path in job.output:
            record = workflow.persistence.metadata(path)
            if os.path.exists(path) and os.path.getmtime(path) > max(
                since, record.endtime + 1 if record else 0
            ):
                jobs.append(job)
                break
    return jobs


def _makes_results():
    """Whether this run has outputs at all: one that only looks may look at one under way."""
    return any(job.output for job in workflow.dag.jobs)


def end_recovery(succeeded):
    """Note that a run has ended in good order; after a success drop what was kept to resume it.

    What killed jobs left of files that they were writing goes too.
    """
    if not _makes_results():
        return
    RUN_MARKER.unlink(missing_ok=True)
    if succeeded:
        files = {str(path) for job in workflow.dag.jobs for path in job.output}
        source = f"{DATASET}/source"
        own = [
            ".arguments",
            ".code",
            ".weights",
            ".weights/digests",
            "provenance",
            source,
            f"{source}/.cache",
        ]
        clear_leftovers(map(Path, files), [Path("results") / name for name in own])

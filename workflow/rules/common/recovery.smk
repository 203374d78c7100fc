# What is kept to resume a run, and what a run that was killed leaves unrecorded.
#
# Jobs on a cluster outlive a Snakemake that is killed. What they finish has no record of its params:
# Snakemake takes it as it is, and never notices a later change of those. So a run writes down what it
# is about to make, and each later Snakemake looks at that list when it reads the rules, before it asks
# what there is to do. Its hooks would be too late: where all files are there, none is called.
from types import SimpleNamespace

from snakemake.io import IOFile
from snakemake.logging import logger

from capsynth.resuming import clear_leftovers
from capsynth.unrecorded import read_expected, unrecorded, write_expected
from capsynth.written_inputs import FOLDERS as WRITTEN
from capsynth.written_inputs import clear_written_inputs

# The outputs of a run that is under way, or did not end well, as far as nobody has noted them.
RUN_MARKER = Path("results/.running")


def mark_unrecorded():
    """Mark as incomplete what a run that did not end well has left without a record.

    Snakemake then makes it again, with --rerun-incomplete as in the profiles; what is finished of
    captions, images and trainings is taken over. A dry run marks too: it tells what is owed.
    """
    expected = read_expected(RUN_MARKER)
    if not expected or not workflow.is_main_process:
        return
    persistence = _open_persistence()
    # A lock: a run is under way and notes what it makes itself, or this one is about to be refused.
    if any(persistence._read_locks()):
        return
    found = _unrecorded(expected, persistence)
    if found:
        persistence.started(SimpleNamespace(output=[IOFile(path) for path in found]))
        logger.warning(
            f"{len(found)} files were finished after their Snakemake was killed, so nobody noted how "
            "they were made. They count as incomplete and are made again: what is finished of "
            "captions, images and trainings is taken over."
        )


def _open_persistence():
    """Snakemake's records of this folder, which it opens itself only after it has read the rules."""
    settings = workflow.workflow_settings
    if settings.persistence_backend.name == "DB":
        from snakemake.persistence.db import DbPersistence

        return DbPersistence(db_url=settings.persistence_backend_db_url)
    from snakemake.persistence.file import FilePersistence

    return FilePersistence()


def _unrecorded(paths, persistence):
    def endtime(path):
        record = persistence.metadata(IOFile(path))
        return record.endtime if record else None

    return unrecorded(paths, endtime)


def begin_recovery():
    """Write down what this run is about to make, beside what orphans may still be at work on."""
    making = {str(path) for job in workflow.dag.needrun_jobs() for path in job.output}
    if not making:
        return
    expected = read_expected(RUN_MARKER)
    found = {*_unrecorded(expected, workflow.persistence)}
    orphaned = {path for path in expected if path in found or not os.path.lexists(path)}
    write_expected(RUN_MARKER, making | orphaned)


def end_recovery(succeeded):
    """Note what of this run nobody has noted; after a success drop what was kept to resume it.

    What killed jobs left of files that they were writing goes too.
    """
    jobs = [job for job in workflow.dag.jobs if job.output]
    if not jobs:
        return  # one that only looks may look at a run under way
    files = {str(path) for job in jobs for path in job.output}
    noted = {str(path) for job in workflow.dag.finished_jobs for path in job.output}
    write_expected(RUN_MARKER, read_expected(RUN_MARKER) - (files if succeeded else noted))
    if succeeded:
        source = f"{DATASET}/source"
        own = [
            Path("results") / name
            for name in ("provenance", ".weights", ".weights/digests", source, f"{source}/.cache")
        ]
        clear_leftovers(map(Path, files), [*own, *WRITTEN])
        clear_written_inputs({Path(path) for job in workflow.dag.jobs for path in job.input})


mark_unrecorded()

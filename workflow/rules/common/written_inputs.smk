# Inputs that are written as the Snakefile is read: the code of scripts, and long lists of arguments.
import functools
from importlib.metadata import version

from capsynth.source_code import is_code_of, write_code_digests
from capsynth.written_inputs import (
    ARGUMENTS,
    EDITED,
    VIEWS,
    is_code,
    serves,
    write_input,
    written_name,
)

# script -> the file of its code digests
CODE_FILES = {}
# Jobs beside which their code was edited.
EDITED_JOBS = set()


def code(script):
    """The input that stands for a script's code: a file with the digests of all modules it imports.

    One file, not one input a module: a large experiment has ten thousand jobs, and each input costs
    Snakemake time and memory.
    """
    if script not in CODE_FILES:
        path = Path(SCRIPTS) / f"{script}.py"
        CODE_FILES[script] = write_code_digests(path, Path(SCRIPTS))
    return {"code": CODE_FILES[script]}


def ancient_code(script):
    """The code of a download: a new version of it is no reason to fetch anything again."""
    return {name: ancient(str(file)) for name, file in code(script).items()}


def argument_file(name, words):
    """A file of command-line arguments, one a line: a shell takes no command of 128 KiB or more."""
    return write_input(ARGUMENTS, name, ".txt", "".join(f"{word}\n" for word in words))


def but_for_what_does_not_count(input_changed):
    """Return Snakemake's method that compares the set of a job's inputs with that of its last run,
    made to overlook

    - code that is ancient: by a rule, or by `consider-ancient` in a profile. Snakemake overlooks times
      of ancient inputs, but not their names, which for code are its digests;
    - for the predictions on one evaluation set, all other sets: none of them has to be made again when
      another set comes or goes.
    """

    @functools.wraps(input_changed)
    def changed(records, job, file=None):
        if not input_changed(records, job, file=file):
            return False
        is_ancient = getattr(getattr(job.input, "code", None), "is_ancient", False)
        is_evaluation = job.rule.name == "evaluate_classifier"

        def counts(path):
            if is_ancient and is_code(path):
                return False
            return not is_evaluation or serves(path, file)

        return [*filter(counts, records.input(file))] != [*filter(counts, records._input(job))]

    return changed


def note_edit(job):
    """Note if the code of a job is not, as it starts or ends, what the run was planned with."""
    digests = getattr(getattr(job, "input", None), "code", None)
    if digests is None or job in EDITED_JOBS:
        return
    script = Path(SCRIPTS) / f"{Path(written_name(digests)).stem}.py"
    try:
        is_edited = not is_code_of(Path(digests), script, Path(SCRIPTS))
    except (OSError, ValueError, SyntaxError):  # in the middle of an edit
        is_edited = True
    if is_edited:
        EDITED_JOBS.add(job)


def noting_edits_before(started):
    """Return Snakemake's method that marks a job as started, made to look at its code first."""

    @functools.wraps(started)
    def start(records, job, *args, **kwargs):
        note_edit(job)
        return started(records, job, *args, **kwargs)

    return start


def noting_edits_after(finished):
    """Return Snakemake's method that records a job that has ended, made to look at its code first."""

    @functools.wraps(finished)
    async def finish(records, job):
        note_edit(job)
        await finished(records, job)

    return finish


def saying_what_was_edited(input_of):
    """Return Snakemake's method that lists a job's inputs for its record, made to mark code that was
    edited beside the job: it may have read the old or the new files, so no code is its own.
    """

    @functools.wraps(input_of)
    def of(records, job):
        files = input_of(records, job)
        return [f"{f}{EDITED}" if is_code(f) else f for f in files] if job in EDITED_JOBS else files

    return of


# No public interface. On another version, an edit makes jobs run whose code is ancient, which costs
# time; and code that is edited and put back while a run is under way may go unnoticed.
# docs/decisions/code-as-input.md
if version("snakemake").startswith("9.27."):
    from snakemake.persistence import PersistenceBase

    replace_once(PersistenceBase, "_input_changed", but_for_what_does_not_count)
    replace_once(PersistenceBase, "_input", saying_what_was_edited)
    replace_once(PersistenceBase, "started", noting_edits_before)
    replace_once(PersistenceBase, "finished", noting_edits_after)

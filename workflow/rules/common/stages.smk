# Which rules are read: all of them, and in a job of a cluster, which starts Snakemake twice, its own.
from capsynth.job_rules import allowed_rules, files_with_rules


def rule_files(*stages):
    """The files of stages whose rules this process needs, in their order."""
    root = Path(workflow.basedir)
    files = [root / "workflow" / "rules" / f"{stage}.smk" for stage in stages]
    if not workflow.is_main_process:
        files = files_with_rules(files, allowed_rules(sys.argv))
    return [str(file.relative_to(root)) for file in files]

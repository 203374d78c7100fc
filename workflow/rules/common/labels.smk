# Label quality: what its rules read. Its judges are those of the prompts.
LABEL_TABLES = ["label-quality", "label-quality-per-class"]
LABEL_REPORT = (
    [f"results/report/tables/{table}.html" for table in LABEL_TABLES] if JUDGEMENTS else []
)


def label_arguments(wildcards):
    """What judges say of the images of variants, and of real ones, as arguments."""
    words = ["--judgements", *JUDGEMENTS, "--references", *JUDGES_ON_REAL]
    return argument_file("labels", words)

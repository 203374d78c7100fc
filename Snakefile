from snakemake.utils import min_version

min_version("9.0")


include: "workflow/rules/common/configfiles.smk"


configfile: "config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common/planning.smk"
include: "workflow/rules/common/names.smk"
include: "workflow/rules/common/prefetch.smk"
include: "workflow/rules/common/packing.smk"
include: "workflow/rules/common/captioning.smk"
include: "workflow/rules/common/prompting.smk"
include: "workflow/rules/common/generation.smk"
include: "workflow/rules/common/training.smk"
include: "workflow/rules/common/evaluation.smk"
include: "workflow/rules/common/features.smk"
include: "workflow/rules/common/privacy.smk"
include: "workflow/rules/common/confusions.smk"
include: "workflow/rules/common/calibration.smk"
include: "workflow/rules/common/robustness.smk"
include: "workflow/rules/common/fidelity.smk"
include: "workflow/rules/common/cost.smk"
include: "workflow/rules/common/reporting.smk"
include: "workflow/rules/common/exporting.smk"
include: "workflow/rules/common/recovery.smk"
include: "workflow/rules/common/scheduling.smk"
include: "workflow/rules/common/submission.smk"
include: "workflow/rules/common/bookkeeping.smk"
include: "workflow/rules/common/resources.smk"
include: "workflow/rules/common/monitoring.smk"
include: "workflow/rules/prefetch.smk"
include: "workflow/rules/packing.smk"
include: "workflow/rules/captioning.smk"
include: "workflow/rules/prompting.smk"
include: "workflow/rules/generation.smk"
include: "workflow/rules/training.smk"
include: "workflow/rules/evaluation.smk"
include: "workflow/rules/features.smk"
include: "workflow/rules/privacy.smk"
include: "workflow/rules/confusions.smk"
include: "workflow/rules/calibration.smk"
include: "workflow/rules/robustness.smk"
include: "workflow/rules/fidelity.smk"
include: "workflow/rules/cost.smk"
include: "workflow/rules/reporting.smk"
include: "workflow/rules/exporting.smk"
include: "workflow/rules/monitoring.smk"


rule all:
    default_target: True
    input:
        "results/scores.csv",
        REPORT_FILES,


include: "workflow/rules/planning.smk"

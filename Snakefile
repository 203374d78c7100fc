from snakemake.utils import min_version

min_version("9.0")


include: "workflow/rules/common/configfiles.smk"


configfile: "config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common/planning.smk"
include: "workflow/rules/common/names.smk"
include: "workflow/rules/common/written_inputs.smk"
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
include: "workflow/rules/common/convergence.smk"
include: "workflow/rules/common/probing.smk"
include: "workflow/rules/common/robustness.smk"
include: "workflow/rules/common/fidelity.smk"
include: "workflow/rules/common/labels.smk"
include: "workflow/rules/common/cost.smk"
include: "workflow/rules/common/subgroups.smk"
include: "workflow/rules/common/reporting.smk"
include: "workflow/rules/common/exporting.smk"
include: "workflow/rules/common/recovery.smk"
include: "workflow/rules/common/scheduling.smk"
include: "workflow/rules/common/submission.smk"
include: "workflow/rules/common/bookkeeping.smk"
include: "workflow/rules/common/resources.smk"
include: "workflow/rules/common/monitoring.smk"
include: "workflow/rules/common/warnings.smk"
include: "workflow/rules/common/stages.smk"


for stage_file in rule_files(
    "prefetch",
    "packing",
    "captioning",
    "prompting",
    "generation",
    "training",
    "evaluation",
    "features",
    "privacy",
    "confusions",
    "calibration",
    "convergence",
    "probing",
    "robustness",
    "fidelity",
    "labels",
    "cost",
    "subgroups",
    "reporting",
    "exporting",
    "monitoring",
):

    include: stage_file


rule all:
    default_target: True
    input:
        "results/scores.csv",
        REPORT_FILES,


include: "workflow/rules/planning.smk"

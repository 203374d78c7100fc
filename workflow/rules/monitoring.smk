# What a run would do and cost, how far it is, whether its results are whole. All look only, and run
# here whatever the profile.


rule changed:
    """Say what a run would do, why, and what it would cost."""
    input:
        looking_only,
    log:
        "logs/changed.log",
    localrule: True
    conda:
        "../../envs/workflow.yaml"
    params:
        options=calling_options,
    shell:
        f"{PLAIN}/report_changes.py" " -- {params.options} 2> {log:q}"


rule estimate:
    """Say what a run would cost, and how long it would take with how many GPUs."""
    input:
        looking_only,
    log:
        "logs/estimate.log",
    localrule: True
    conda:
        "../../envs/workflow.yaml"
    params:
        options=calling_options,
    shell:
        f"{PLAIN}/report_estimate.py" " -- {params.options} 2> {log:q}"


rule status:
    """Say how far a run is: what is done, runs, failed and is owed."""
    input:
        looking_only,
    log:
        "logs/status.log",
    localrule: True
    conda:
        "../../envs/workflow.yaml"
    params:
        options=calling_options,
    shell:
        f"{PLAIN}/report_status.py" " -- {params.options} 2> {log:q}"


rule verify:
    """Find results that are not what their jobs wrote."""
    input:
        looking_only,
    log:
        "logs/verify.log",
    localrule: True
    conda:
        "../../envs/workflow.yaml"
    shell:
        f"{PLAIN}/verify_results.py" " 2> {log:q}"

# Comes before `configfile:`. Snakemake tells the jobs of a cluster which files to put over
# config.yaml, but not --replace-workflow-config; their environment tells them.
import os

REPLACE_VARIABLE = "CAPSYNTH_REPLACE_CONFIG"

if not workflow.is_main_process:
    workflow.config_settings.replace_workflow_config = REPLACE_VARIABLE in os.environ
elif workflow.config_settings.replace_workflow_config:
    os.environ[REPLACE_VARIABLE] = "1"
else:
    os.environ.pop(REPLACE_VARIABLE, None)

"""The reporting stage: scores from predictions; tables, figures and pages from scores."""

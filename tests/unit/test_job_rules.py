"""A job reads the rules that it may run, and nothing else."""

from pathlib import Path

import pytest

from capsynth.job_rules import allowed_rules, files_with_rules


@pytest.mark.parametrize(
    ("words", "rules"),
    [
        ("-m snakemake --allowed-rules a b --cores all", {"a", "b"}),
        ("-m snakemake --cores all --allowed-rules a", {"a"}),
        ("-m snakemake --cores all", set()),
    ],
)
def test_the_command_line_of_a_job_names_its_rules(words: str, rules: set[str]) -> None:
    assert allowed_rules(words.split()) == rules


def test_only_the_files_with_its_rules_are_read_and_all_where_one_is_in_none(
    repository: Path,
) -> None:
    files = sorted((repository / "workflow" / "rules").glob("*.smk"))

    def names(*rules: str) -> list[str]:
        return [file.name for file in files_with_rules(files, set(rules))]

    assert names("pack_real") == ["packing.smk"]
    assert names("write_prompts", "caption_images") == ["captioning.smk", "prompting.smk"]
    everything = [file.name for file in files]
    assert names("pack_real", "a_rule_of_somewhere_else") == everything
    assert names() == everything

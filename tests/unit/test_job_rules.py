"""A job reads the rules that it may run, and nothing else."""

import re
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


@pytest.fixture
def files(repository: Path) -> list[Path]:
    snakefile = (repository / "Snakefile").read_text()
    names = re.findall(r'^    "(\w+)",$', snakefile, flags=re.MULTILINE)
    return [repository / "workflow" / "rules" / f"{name}.smk" for name in names]


@pytest.mark.parametrize(
    ("rules", "names"),
    [
        ({"pack_real"}, ["packing"]),
        ({"write_prompts", "caption_images"}, ["captioning", "prompting"]),
        # Rules that are made from others need these too.
        ({"train_reference"}, ["training", "privacy"]),
        ({"plot_senses"}, ["reporting"]),
    ],
)
def test_only_the_files_with_its_rules_are_read(
    files: list[Path], rules: set[str], names: list[str]
) -> None:
    assert [file.stem for file in files_with_rules(files, rules)] == names


def test_all_files_are_read_where_a_rule_is_in_none(files: list[Path]) -> None:
    assert len(files) > 15
    assert files_with_rules(files, {"pack_real", "a_rule_of_somewhere_else"}) == files
    assert files_with_rules(files, set()) == files

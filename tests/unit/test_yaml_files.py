"""YAML that people write: what is refused with its line, and what stays legal."""

import os
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from snakemake.cli import parse_config
from snakemake.common.configfile import load_configfile
from snakemake.utils import update_config

from capsynth.config_sources import ConfigSources
from capsynth.configuration import complete
from capsynth.errors import CapsynthError
from capsynth.yaml_files import read_yaml

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def said_of(text: str | bytes, name: str = "c.yaml") -> list[str]:
    """Return the lines with which a file is refused."""
    Path(name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(CapsynthError) as caught:
        read_yaml(Path(name))
    return str(caught.value).splitlines()


def read(text: str, name: str = "c.yaml") -> Any:
    Path(name).write_text(text, encoding="utf-8")
    return read_yaml(Path(name))


# ---- keys ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: {b: 1}\nc: 2\na: {d: 3}\n", ["c.yaml:3: a stands on line 1 already"]),
        (
            "v:\n  x: {s: 1}\n  y: 2\n  x: {s: 2}\n  x: 3\n",
            ["c.yaml:4: v.x stands on line 2 already", "c.yaml:5: v.x stands on line 2 already"],
        ),
        ("a: {b: 1, c: 2, b: 1}\n", ["c.yaml:1: a.b stands on line 1 already"]),
        ('l:\n- {"b": 1,\n   b: 2}\n', ["c.yaml:3: l[0].b stands on line 2 already"]),
        ("a: &a\n  b: 1\n  b: 2\nc: *a\n", ["c.yaml:3: a.b stands on line 2 already"]),
        ('{"a": {"b": 1},\n\t"a": "\\ud83d\\ude00"}', ["c.yaml:2: a stands on line 1 already"]),
        (
            "a: &a {x: 1}\nb: &b {x: 2}\nc:\n  <<: *a\n  <<: *b\n",
            ["c.yaml:5: c.<< stands on line 4 already; write <<: [*one, *other]"],
        ),
    ],
)
def test_a_key_that_is_there_twice_is_refused_with_both_lines(
    text: str, expected: list[str]
) -> None:
    said = said_of(text)
    assert [line[: len(start)] for line, start in zip(said, expected, strict=True)] == expected


def test_a_key_may_override_what_is_merged() -> None:
    text = "a: &a {x: 1, y: 2}\nb: &b {y: 3, z: 4}\nc:\n  <<: [*a, *b]\n  x: 5\n"
    assert read(text)["c"] == {"x": 5, "y": 2, "z": 4}


def test_equal_keys_of_different_mappings_stay_legal() -> None:
    assert read("a: {x: 1}\nb: {x: 1}\nc: [{x: 1}, {x: 1}]\n")["c"] == [{"x": 1}, {"x": 1}]


@pytest.mark.parametrize(
    ("key", "reading"),
    [
        ("no", "YAML reads false in it"),
        ("010", "YAML reads 8 in it"),
        ("1", "YAML reads 1 in it"),
        ("2020-01-01", "YAML reads 2020-01-01 in it"),
        ("1:30", "YAML reads 90 in it"),
        ("~", "YAML reads nothing in it"),
        ("null", "YAML reads nothing in it"),
    ],
)
def test_a_name_that_is_no_text_is_shown_as_it_is_written_and_the_remedy_works(
    key: str, reading: str
) -> None:
    (line,) = said_of(f"classes:\n  {key}: a\n")
    assert line.startswith(f"c.yaml:2: classes.{key}: {reading}")
    quoted = line.partition("quotes: ")[2]
    assert quoted == f"'{key}'"
    assert read(f"classes:\n  {quoted}: a\n") == {"classes": {key: "a"}}


# ---- values -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "value"), [("1:30", 90), ("-1:30:00", -5400), ("1:30.5", 90.5), ("010", 8)]
)
def test_a_number_that_yaml_counts_otherwise_is_refused(written: str, value: float) -> None:
    (line,) = said_of(f"a:\n  epochs: {written}\n")
    assert line.startswith(f"c.yaml:2: a.epochs: YAML counts {written} in ")
    assert f"write {value}, or '{written}' in quotes" in line
    assert read(f"epochs: '{written}'\n") == {"epochs": written}


@pytest.mark.parametrize(
    ("written", "value"), [("0", 0), ("00", 0), ("007", 7), ("0x10", 16), ("1_000", 1000)]
)
def test_a_number_that_reads_as_it_is_meant_stays_legal(written: str, value: int) -> None:
    assert read(f"a: {written}\n") == {"a": value}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nseed: " + "1" * 5000, "c.yaml:2: seed: 1111"),
        ("a: 2020-13-45", "c.yaml:1: a: 2020-13-45 is no date"),
        ("a: !mine 3", "c.yaml:1: a: !mine is not known here"),
        ("a:\n- !!python/tuple [1]", "c.yaml:2: a[0]: !!python/tuple is not known here"),
        ("? [a, b]\n: 1", "c.yaml:1: ?: a list or mapping is no name"),
        ("a: =", "c.yaml:1: a: !!value is not known here"),
        ("a: {<<: 3}", "c.yaml:1: a.<<: takes an alias of a mapping"),
    ],
)
def test_what_no_loader_takes_is_refused_with_its_line(text: str, said: str) -> None:
    (line,) = said_of(text)
    assert line.startswith(said)


# ---- files --------------------------------------------------------------------------------------


def bomb(levels: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (bomb(30), "c.yaml:5: aliases stand for more than 100,000 values"),
        (f"t: &t {'x' * 10**6}\nl: [{'*t, ' * 100}]", "c.yaml:2: aliases stand for more than"),
        ("a: &a [*a]", "c.yaml:1: *a stands within &a itself"),
        ("a: &a\n  b:\n    <<: *a", "c.yaml:3: *a stands within &a itself"),
        ("a: *b", "c.yaml:1: *b has no &b above it"),
        ("a: " + "[" * 100_000, "c.yaml:1: values lie more than 100 levels deep"),
        ("a: " + "{a: " * 200 + "1" + "}" * 200, "c.yaml:1: values lie more than 100 levels deep"),
        ("name: caf\xe9\n".encode("latin-1"), "c.yaml:1: byte 0xe9 is no UTF-8"),
        ("a: b\n".encode("utf-16"), "c.yaml:1: byte 0xff is no UTF-8"),
        ('a: 1\nb: "\\ud800"', "c.yaml:2: is no YAML"),
        ('{"a": "\\udc00"}', "c.yaml:1: is no YAML"),
        (b"a: \x00", "c.yaml:1: is no YAML: U+0000, control characters"),
        ("a: 1\n---\nb: 2", "c.yaml:2: a second document begins"),
        (
            "a: [1,\nb: 2",
            "c.yaml:3: is no YAML: while parsing a flow sequence that begins on line 1",
        ),
        ("a: 1\n\tb: 2", "c.yaml:2: is no YAML"),
    ],
)
def test_a_file_that_no_loader_must_see_is_refused_with_its_line(
    text: str | bytes, said: str
) -> None:
    (line,) = said_of(text)
    assert line.startswith(said)


def test_what_is_no_file_is_refused_with_the_reason() -> None:
    Path("folder.yaml").mkdir()
    os.mkfifo("pipe.yaml")
    for name, reason in (("folder", "a folder"), ("pipe", "a pipe"), ("none", "No such file")):
        with pytest.raises(CapsynthError, match=rf"^{name}\.yaml cannot be read \({reason}"):
            read_yaml(Path(f"{name}.yaml"))


def test_json_with_tabs_and_pairs_and_a_byte_order_mark_is_read() -> None:
    assert read('{\n\t"a": "\\ud83d\\ude00"}')["a"] == "\N{GRINNING FACE}"
    assert read("\ufeffa: 1\n") == {"a": 1}


# ---- configurations -----------------------------------------------------------------------------


def refusal(*files: str, options: tuple[str, ...] = (), replaces: bool = False) -> list[str]:
    """Return the lines with which a configuration of files is refused, put one over the other."""
    config: dict[str, Any] = {}
    paths = []
    for number, text in enumerate(files):
        paths.append(Path("config.yaml" if number == 0 else f"mine{number}.yaml"))
        paths[-1].write_text(text, encoding="utf-8")
    sources = ConfigSources([path.absolute() for path in paths], options, replaces)
    for path in paths[replaces and len(paths) > 1 :]:
        update_config(config, load_configfile(path))
    update_config(config, parse_config(options))
    with pytest.raises(CapsynthError) as caught:
        complete(config, sources)
    return str(caught.value).splitlines()[1:]


BASE = (ROOT / "config.yaml").read_text(encoding="utf-8")


def test_all_that_is_wrong_is_told_at_once_with_file_and_line() -> None:
    mine = "recipes:\n  cpu-tiny:\n    epochs: 0\n    epochs: 1:30\n    batch_size: many\n"
    assert refusal(BASE, mine) == [
        "  mine1.yaml:4: recipes.cpu-tiny.epochs stands on line 3 already; rename or remove one",
        "  mine1.yaml:4: recipes.cpu-tiny.epochs: YAML counts 1:30 in sixties, as 90; write 90, or "
        "'1:30' in quotes for a text",
        "  mine1.yaml:5: recipes.cpu-tiny.batch_size: expected a whole number, not 'many'",
    ]


def test_a_file_over_another_is_told_how_to_stand_alone() -> None:
    mine = "dataset:\n  name: x\n  source: folder\n  path: y\n  classes: [cat, no]\n"
    lines = refusal(BASE, mine)
    base_line = BASE[: BASE.index("  seed: 1")].count("\n") + 1
    said = f"  config.yaml:{base_line}: dataset.seed: does not apply; remove it. "
    assert said in "\n".join(lines)
    assert (
        "  mine1.yaml:5: dataset.classes[1]: expected text, not false; put it in quotes: 'no'"
        in lines
    )
    assert lines[-1] == (
        "mine1.yaml is put over config.yaml, whose other keys stay; for mine1.yaml alone add "
        "--replace-workflow-config"
    )
    alone = refusal(BASE, mine, replaces=True)
    assert not [line for line in alone if "config.yaml" in line]
    assert any("dataset.classes[1]" in line for line in alone)


def test_what_config_makes_text_is_told_to_go_into_a_file() -> None:
    lines = refusal(BASE, options=("training_seeds=[0,1]", "privacy={reference_models: 3}"))
    assert [line.partition(" expected")[0] for line in lines] == [
        "  --config: training_seeds[0]:",
        "  --config: training_seeds[1]:",
        "  --config: privacy.reference_models:",
    ]
    assert all("name that with --configfile" in line for line in lines)
    Path("seeds.yaml").write_text("training_seeds: [0, 1]\n")
    complete({**read(BASE), **read_yaml(Path("seeds.yaml"))})


def test_a_key_of_config_that_a_file_has_too_keeps_the_file_for_the_rest() -> None:
    base = BASE.replace("  seed: 1\n", "  seed: -1\n")
    line = BASE[: BASE.index("  seed: 1")].count("\n") + 1
    (said,) = refusal(base, options=("dataset={name: other}",))
    assert said.startswith(f"  config.yaml:{line}: dataset.seed: -1 is too small")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\na: 2\nseed: " + "1" * 5000, "config.yaml:3: seed: 1111"),
        ("a: 1\na: 2\nseed: 2020-13-45", "config.yaml:3: seed: 2020-13-45 is no date"),
        ("a: 1\na: 2\nseed: !mine 3", "config.yaml:3: seed: !mine is not known here"),
        ("a: 1\na: 2\nseed: {<<: 3}", "config.yaml:3: seed.<<: takes an alias"),
        ("a: 1\na: 2\n? [b]\n: 3", "config.yaml:3: ?: a list or mapping is no name"),
    ],
    ids=["digits", "date", "tag", "merge", "key"],
)
def test_what_snakemake_cannot_load_is_refused_before_it_tries(text: str, said: str) -> None:
    Path("config.yaml").write_text(text)
    with pytest.raises(CapsynthError) as caught:
        ConfigSources([Path("config.yaml")])
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("config.yaml:2: a stands on line 1 already")
    assert lines[1].startswith(said)


@pytest.mark.parametrize("text", ["", "# nothing\n", "[1]", "word"])
def test_a_configuration_without_keys_is_refused_by_name(text: str) -> None:
    Path("config.yaml").write_text(text)
    with pytest.raises(CapsynthError, match=r"^config\.yaml: holds no keys"):
        ConfigSources([Path("config.yaml")])


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (10**5000, "has more than 100 digits"),
        ("a\0b", "'a\\x00b' has a character that is no text"),
        ("\ud800", "'\\ud800' has a character that is no text"),
        (date(2020, 1, 1), "YAML reads 2020-01-01 as no text; put it in quotes"),
        (b"x", "YAML reads b'x' as no text; put it in quotes"),
    ],
    ids=["digits", "nul", "surrogate", "date", "bytes"],
)
def test_a_value_that_no_file_can_hold_is_refused(value: object, said: str) -> None:
    config = read(BASE)
    config["recipes"]["cpu-tiny"]["model"] = value
    config["generators"]["embedded"]["scheduler_args"] = {"x": value}
    with pytest.raises(CapsynthError) as caught:
        complete(config)
    for key in ("recipes.cpu-tiny.model", "generators.embedded.scheduler_args.x"):
        assert f"  {key}: {said}" in str(caught.value)

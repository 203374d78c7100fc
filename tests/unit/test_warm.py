"""The parts of the warm start that need no second process."""

import io
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capsynth import warm, warm_server
from capsynth.errors import CapsynthError

SCRIPTS = Path(warm.__file__).parents[1]

plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(plain_values)
def test_a_frame_is_read_whole_or_not_at_all(value: object) -> None:
    data = warm.frame([value])
    assert warm.unframe(data) == [value]
    assert warm.unframe(data[:-1]) is None
    assert warm.unframe(data[:3]) is None


def test_arguments_that_are_no_unicode_survive_a_frame() -> None:
    argument = os.fsdecode(b"\xff.png")
    assert warm.unframe(warm.frame([argument])) == [argument]


def test_surroundings_do_not_change_by_themselves() -> None:
    here = warm.surroundings(os.environ)
    assert warm.find_difference(here, warm.surroundings(os.environ)) is None


@pytest.mark.parametrize("name", ["PYTHONPATH", "HF_HUB_OFFLINE", "OMP_PROC_BIND", "LC_ALL"])
def test_a_variable_that_imports_depend_on_is_a_difference(name: str) -> None:
    here = warm.surroundings({name: "1"})
    assert warm.find_difference(here, warm.surroundings({})) == (
        f"the variable {name} is 1 here and not set there"
    )


@pytest.mark.parametrize(
    "environment",
    [{"OMP_NUM_THREADS": "2"}, {"OMP_NUM_THREADS": "3", "MKL_NUM_THREADS": "3"}, {"TMPDIR": "/x"}],
)
def test_what_can_be_set_after_the_imports_is_no_difference(environment: dict[str, str]) -> None:
    assert warm.find_difference(warm.surroundings(environment), warm.surroundings({})) is None


@pytest.mark.parametrize(
    "environment",
    [
        {"OMP_NUM_THREADS": "4,2"},
        {"OMP_NUM_THREADS": "0"},
        {"MKL_NUM_THREADS": "2"},
        {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "2"},
    ],
)
def test_thread_numbers_that_one_call_cannot_set_are_a_difference(
    environment: dict[str, str],
) -> None:
    assert warm.find_difference(warm.surroundings(environment), warm.surroundings({}))


def test_the_umask_belongs_to_the_surroundings() -> None:
    before = warm.surroundings({})
    old = os.umask(0o027)
    try:
        other = warm.surroundings({})
    finally:
        os.umask(old)
    assert "the umask" in (warm.find_difference(before, other) or "")


def test_the_client_imports_nothing_slow() -> None:
    code = (
        "import sys; before = set(sys.modules); import capsynth.warm; "
        "print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before}))"
    )
    listed = subprocess.run(
        [sys.executable, "-c", code], cwd=SCRIPTS, capture_output=True, text=True, check=True
    )
    slow = {"argparse", "dataclasses", "json", "logging", "pathlib", "re", "subprocess", "typing"}
    assert "capsynth" in listed.stdout.split()
    assert not slow & set(listed.stdout.split())


@pytest.mark.parametrize("spec", ["capsynth", "capsynth.training", "warm", "warm:main"])
def test_code_of_the_repository_is_not_preloaded(spec: str) -> None:
    with pytest.raises(CapsynthError, match="third-party packages only"):
        warm_server.check_third_party(spec)


def test_everything_preloaded_by_default_is_third_party() -> None:
    for spec in warm_server.PRELOAD:
        warm_server.check_third_party(spec)


def test_a_package_that_is_missing_is_named_and_passed_over(
    capsys: pytest.CaptureFixture[str],
) -> None:
    sys.modules.pop("wave", None)
    warm_server.preload_modules(["no_such_package", "json:no_such_name", "wave:open"])
    assert "wave" in sys.modules
    errors = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in errors] == ["no_such_package", "json:no_such_name"]


def test_a_process_with_a_second_thread_must_not_fork_jobs() -> None:
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        assert "threads" in (warm_server.find_obstacle() or "")
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize(
    ("code", "exit_code", "said"),
    [(None, 0, ""), (3, 3, ""), (-1, 255, ""), (True, 1, ""), ("no shard", 1, "no shard\n")],
)
def test_system_exit_gives_the_interpreters_code(
    code: object, exit_code: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stderr = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    assert warm_server.report_exception(SystemExit(code)) == exit_code
    assert stderr.getvalue() == said

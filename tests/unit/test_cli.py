"""What scripts share: exit codes, error lines, threads, names."""

import errno
import os

import pytest
import torch

from capsynth import cli
from capsynth.errors import CapsynthError
from capsynth.names import check_name


def test_an_error_the_user_can_mend_becomes_one_line_and_exit_code_1(capsys):
    def main() -> None:
        raise CapsynthError("shard 'bat-0' is damaged;\ndelete it")

    assert cli.run(main) == 1
    assert capsys.readouterr().err == "error: shard 'bat-0' is damaged; delete it\n"


def test_a_file_system_that_is_full_becomes_one_line_that_names_the_file(capsys):
    def main() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "results/.bat-0.tar.partial")

    assert cli.run(main) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: results/.bat-0.tar.partial: No space left on device; free some")
    assert said.count("\n") == 1
    with pytest.raises(FileNotFoundError):
        cli.run(lambda: os.stat("missing"))


def test_success_is_exit_code_0_and_other_errors_keep_their_traceback(capsys):
    assert cli.run(lambda: None) == 0
    assert capsys.readouterr().err == ""
    with pytest.raises(ZeroDivisionError):
        cli.run(lambda: print(1 / 0))


def test_threads_reach_torch_and_must_be_positive():
    before = torch.get_num_threads()
    try:
        cli.set_threads(before + 1)
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)
    with pytest.raises(CapsynthError, match="at least 1"):
        cli.set_threads(0)


def test_a_name_without_a_near_one_is_refused_with_the_known_ones_only():
    assert check_name("split", "val", ["train", "val"]) == "val"
    with pytest.raises(CapsynthError, match=r"^unknown split 'zzz'; known: train, val$"):
        check_name("split", "zzz", ["train", "val"])

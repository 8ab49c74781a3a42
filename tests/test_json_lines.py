"""Laws of files of JSON lines: they read back, an interrupt loses at most one line, and damage is an error."""

from pathlib import Path

import pytest

from matgen.errors import UserError
from matgen.runtime.json_lines import append_json_lines, read_json_lines, write_json_lines
from matgen.runtime.output import OutputError, writing


class DamagedError(UserError, ValueError):
    """A damaged file."""


def read(path: Path, *, repair: bool = False) -> list[int]:
    return read_json_lines(path, lambda value: value["n"], error=DamagedError, advice="remove it", repair=repair)


def test_lines_read_back_in_their_order(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    assert read(path) == []
    write_json_lines(path, [{"n": 1}])
    append_json_lines(path, [{"n": 2}, {"n": 3}])
    assert read(path) == [1, 2, 3]


def test_an_incomplete_last_line_is_ignored_and_can_be_removed(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text('{"n": 1}\n{"n": ', encoding="utf-8")
    assert read(path) == [1]
    assert path.read_text(encoding="utf-8").endswith('{"n": ')
    assert read(path, repair=True) == [1]
    append_json_lines(path, [{"n": 2}])
    assert read(path) == [1, 2]


@pytest.mark.parametrize("line", [b"{}", b"[1]", b"no JSON", b"\xff"])
def test_a_damaged_file_is_an_error_and_is_not_changed(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_bytes(line + b'\n{"n": ')
    with pytest.raises(DamagedError, match=r"lines\.jsonl is damaged .*; remove it"):
        read(path, repair=True)
    assert path.read_bytes() == line + b'\n{"n": '


def test_a_folder_that_does_not_exist_is_named_once(tmp_path: Path) -> None:
    path = tmp_path / "absent" / "lines.jsonl"
    with pytest.raises(OutputError) as caught, writing(tmp_path):
        append_json_lines(path, [{"n": 1}])
    assert str(caught.value).count("choose another folder") == 1
    assert str(path) in str(caught.value)


def test_numbers_must_be_finite(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        append_json_lines(tmp_path / "lines.jsonl", [{"n": float("nan")}])

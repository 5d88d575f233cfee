"""A file is there whole or not at all, a folder of results likewise, and nothing is left beside."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from AttentionUNetSegmentLib import files
from AttentionUNetSegmentLib.errors import OutputError
from AttentionUNetSegmentLib.files import (
    STAGING_PREFIX,
    locked_folder,
    replace_text,
    replaced_file,
    staged_folder,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def run_other(code: str, argument: Path) -> str:
    """What another process prints."""
    done = subprocess.run(
        [sys.executable, "-c", code, str(argument)],
        env={**os.environ, "PYTHONPATH": str(Path(files.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_a_file_is_replaced_and_what_a_killed_process_left_goes(tmp_path: Path) -> None:
    code = (
        "import os, sys, pathlib\n"
        "from AttentionUNetSegmentLib.files import replaced_file\n"
        "with replaced_file(pathlib.Path(sys.argv[1])) as beside:\n"
        "    beside.write_text('half')\n"
        "    os._exit(0)\n"
    )
    run_other(code, tmp_path / "card.json")
    (left,) = tmp_path.iterdir()
    assert (left / "card.json").read_text() == "half"
    (tmp_path / ".card.json.12345678.new").mkdir()  # of one killed at once
    (tmp_path / ".other.json.12345678.new").mkdir()  # of another file
    replace_text(tmp_path / "card.json", "old")
    replace_text(tmp_path / "card.json", "ä new one")
    assert (tmp_path / "card.json").read_text("utf-8") == "ä new one"
    assert names(tmp_path) == [".other.json.12345678.new", "card.json"]


@pytest.mark.parametrize("existing", [False, True])
def test_a_block_that_fails_changes_no_file(tmp_path: Path, existing: bool) -> None:
    file = tmp_path / "mask.nii.gz"
    if existing:
        file.write_bytes(b"old")

    def fail() -> None:
        with replaced_file(file) as beside:
            assert beside.name == file.name  # writers know their formats by it
            beside.write_bytes(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert names(tmp_path) == (["mask.nii.gz"] if existing else [])
    assert not existing or file.read_bytes() == b"old"


def test_a_file_takes_its_place_after_it_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    replace_text(tmp_path / "a.txt", "old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        replace_text(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_two_programs_that_replace_a_file_leave_each_other_alone(tmp_path: Path) -> None:
    """What is there is what one of them wrote, whole."""
    file = tmp_path / "a.txt"
    with replaced_file(file) as beside:
        beside.write_text("the first")
        replace_text(file, "the second")
        assert file.read_text() == "the second"
    assert file.read_text() == "the first"
    assert names(tmp_path) == ["a.txt"]


def test_a_folder_taken_for_a_leftover_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Path] = []

    @contextmanager
    def too_late(folder: Path) -> Iterator[None]:
        made.append(folder)
        if len(made) == 1:
            folder.rmdir()
        with locked_folder(folder):
            yield

    monkeypatch.setattr(files, "locked_folder", too_late)
    replace_text(tmp_path / "a.txt", "all of it")
    assert (tmp_path / "a.txt").read_text() == "all of it"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("problem", [OutputError("no locks"), ImportError("filelock")], ids=repr)
def test_a_file_is_replaced_where_there_are_no_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: Exception
) -> None:
    def locked(folder: Path) -> None:
        raise problem

    monkeypatch.setattr(files, "locked_folder", locked)
    file = tmp_path / "a.txt"
    with replaced_file(file) as beside:
        beside.write_text("the first")
        replace_text(file, "the second")
    assert file.read_text() == "the first"
    assert names(tmp_path) == ["a.txt"]


def test_a_locked_folder_keeps_other_programs_out(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib\n"
        "from AttentionUNetSegmentLib.errors import InputError\n"
        "from AttentionUNetSegmentLib.files import locked_folder\n"
        "try:\n"
        "    with locked_folder(pathlib.Path(sys.argv[1])): pass\n"
        "except InputError as error: print(error)\n"
    )
    with locked_folder(tmp_path):
        assert "Another program is working in" in run_other(code, tmp_path)
    assert run_other(code, tmp_path) == ""


def test_results_appear_together_and_the_lock_is_none_of_them(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "out"
    with staged_folder(folder) as staged:
        for name in ("a.txt", "b.txt", "report.json"):
            (staged.staging / name).write_text(name)
        assert [name[: len(STAGING_PREFIX)] for name in names(folder)] == [STAGING_PREFIX]
        staged.publish(["a.txt", "report.json"], outdated=["c.txt"])
    assert names(folder) == ["a.txt", "report.json"]


def test_what_is_not_published_leaves_no_folder(tmp_path: Path) -> None:
    with staged_folder(tmp_path / "new" / "out") as staged:
        (staged.staging / "a.txt").write_text("a")
    assert names(tmp_path) == []


def test_a_folder_that_others_work_in_keeps_their_staging(tmp_path: Path) -> None:
    with staged_folder(tmp_path) as one:
        (one.staging / "a.txt").write_text("one")
        with staged_folder(tmp_path) as other:
            (other.staging / "b.txt").write_text("other")
            other.publish(["b.txt"])
        one.publish(["a.txt"])
    assert names(tmp_path) == ["a.txt", "b.txt"]


def test_a_file_where_a_folder_has_to_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="a file and no folder"), staged_folder(tmp_path / "file"):
        pass
    (tmp_path / "out" / "a.txt").mkdir(parents=True)
    with (
        pytest.raises(OutputError, match="is a folder"),
        staged_folder(tmp_path / "out", ["a.txt"]),
    ):
        pass

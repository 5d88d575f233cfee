"""What the system denies a command: locks, memory, a stderr, a value for an option."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import filelock
import pytest
from AttentionUNetSegmentLib.app import main as command
from AttentionUNetSegmentLib.datasets import loading
from AttentionUNetSegmentLib.errors import OutputError, is_out_of_memory
from AttentionUNetSegmentLib.files import locked_folder
from command_line import LIBRARY, assert_refused, hounsfield, run, write_image


@pytest.mark.parametrize(
    "problem",
    [OSError(errno.ENOLCK, "No locks available"), OSError(errno.ENOSYS, "Not implemented"),
     NotImplementedError("FileSystem does not appear to support flock")],
)  # fmt: skip
def test_a_file_system_without_locks_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: Exception
) -> None:
    def acquire(*_: Any, **__: Any) -> None:
        raise problem

    monkeypatch.setattr(filelock.FileLock, "acquire", acquire)
    with pytest.raises(OutputError, match="without file locks; choose"), locked_folder(tmp_path):
        pass


def test_other_trouble_with_a_lock_is_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with locked_folder(tmp_path), pytest.raises(ZeroDivisionError):
        raise ZeroDivisionError
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(OSError, match=r"ot a directory|exists|No such"), locked_folder(file):
        pass


OUT_OF_MEMORY = [
    MemoryError(),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
    ImportError("libtorch_cpu.so: failed to map segment from shared object"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("std::bad_alloc"),
]


@pytest.mark.parametrize("problem", OUT_OF_MEMORY, ids=repr)
def test_too_little_memory_is_one_sentence_in_any_words(
    problem: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load(_: Path) -> None:
        raise ValueError("loading failed") from problem

    monkeypatch.setattr(loading, "find_data_set", load)
    assert command.main(["check-data", "data"]) == 2
    assert capsys.readouterr().err == "Error: This computer's memory does not suffice for it.\n"


def test_other_errors_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(_: Path) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr(loading, "find_data_set", load)
    with pytest.raises(ValueError, match="a bug"):
        command.main(["check-data", "data"])
    assert not is_out_of_memory(OSError(errno.ENOENT, "absent"))
    assert not is_out_of_memory(ValueError("out of memory"))  # of no library that is asked


@pytest.mark.skipif(os.name != "posix", reason="closed by a POSIX shell")
@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&-", "<&- 2>&-"])
def test_without_a_stderr_no_other_file_becomes_one(tmp_path: Path, closed: str) -> None:
    """The next file that is opened would be descriptor 2, and libraries print there."""
    code = (
        "import sys; sys.argv = ['x']\n"
        "from AttentionUNetSegmentLib.app.main import main\n"
        "from AttentionUNetSegmentLib.io.captured_stderr import capture_stderr\n"
        "from AttentionUNetSegmentLib.app.progress_bar import shown_progress\n"
        "import os\n"
        "with capture_stderr() as printed, shown_progress(): pass\n"
        "status = main(['--help'])\n"
        "with open(sys.argv[0] + '.txt', 'w') as file: assert file.fileno() > 2\n"
        "with capture_stderr(): os.write(2, b'printed')\n"
        "os._exit(status)\n"
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    done = subprocess.run(f"'{sys.executable}' '{script}' {closed}", shell=True, cwd=tmp_path)
    assert done.returncode == 0
    assert (tmp_path / "x.txt").read_bytes() == b""


@pytest.mark.skipif(os.name != "posix", reason="a POSIX shell's pipe")
def test_work_goes_on_where_nobody_reads_how_it_goes(tmp_path: Path) -> None:
    code = (
        "import sys, time, pathlib\n"
        "from AttentionUNetSegmentLib.app import main as command\n"
        "def work(arguments):\n"
        "    time.sleep(0.5)\n"
        "    for _ in range(9): print('going on', file=sys.stderr, flush=True)\n"
        "    pathlib.Path('done.txt').touch()\n"
        "    return 0\n"
        "command._run = work\n"
        "pathlib.Path('status.txt').write_text(str(command.main([])))\n"
    )
    (tmp_path / "script.py").write_text(code)
    subprocess.run(f"'{sys.executable}' script.py 2>&1 | true", shell=True, cwd=tmp_path)
    assert (tmp_path / "done.txt").exists()
    assert (tmp_path / "status.txt").read_text() == "0"


@pytest.mark.parametrize(
    "arguments",
    [["segment", "scan.nii", "-o", ""], ["segment", "", "-o", "out"], ["batch", "a", "--output="],
     ["segment", "scan.nii", "-o", " "]],
)  # fmt: skip
def test_an_empty_argument_is_not_this_folder(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(arguments) == 2
    assert "An argument is empty" in capsys.readouterr().err


@pytest.mark.skipif(os.name != "posix", reason="needs links and folders in use that can go")
def test_links_and_folders_that_lead_nowhere_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    loop = tmp_path / "loop.nii"
    loop.symlink_to(loop)
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    scan = write_image(hounsfield(), tmp_path / "scan.nrrd")
    for arguments in (["segment", loop, "-o", tmp_path / "out"], ["segment", scan, "-o", loop]):
        assert_refused(capsys, run(*arguments), "")
    (tmp_path / "gone").rmdir()
    assert_refused(capsys, run("segment", "scan.nrrd", "-o", "out"), "folder that the command runs")
    monkeypatch.undo()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["loop.nii", "scan.nrrd"]


def test_the_windows_that_pictures_are_shown_in_elsewhere_are_nobodys_concern() -> None:
    code = (
        "from AttentionUNetSegmentLib.app.main import main\n"
        "assert main(['--version']) == 0\n"
        "import matplotlib\n"
        "assert matplotlib.get_backend().lower() == 'agg'\n"
    )
    environment = os.environ | {"MPLBACKEND": "nonsense", "PYTHONPATH": str(LIBRARY)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)

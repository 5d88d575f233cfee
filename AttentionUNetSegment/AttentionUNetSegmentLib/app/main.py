"""Where the command ``attention-unet-segment`` starts, and what its exit status says.

0: done. 2: it could not be done; one line on stderr says why. 130, 143: stopped by Ctrl-C, by a
request to end. Anything else is a bug and keeps its traceback.
"""

from __future__ import annotations

import errno
import io
import logging
import os
import re
import sys
from collections.abc import Sequence
from functools import cache
from typing import Any

from ..errors import AttentionUNetSegmentError, is_out_of_memory
from ..stopping import Stopped, stops_raised
from .requirements import extra_needed

COMMAND = "attention-unet-segment"
COMPLETION_VARIABLE = "_ATTENTION_UNET_SEGMENT_COMPLETE"
"""Set by the shell whose completion was installed."""
CANNOT_BE_DONE = 2

_NO_ROOM = {getattr(errno, name, -1) for name in ("ENOSPC", "EDQUOT", "EFBIG")}
_NO_VALUE = re.compile(r"--[a-z-]+=\s*")
_PREFIX = re.compile(r"\A(Invalid value[^:]*: )Value error, ")
"""What pydantic, by which newer versions of typer check values, puts before what is wrong."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: those after the command's name; the process's own unless given.

    Returns:
        The exit status.
    """
    _open_streams()
    try:
        with stops_raised():
            status = _run(sys.argv[1:] if arguments is None else list(arguments))
            sys.stdout.flush()  # and not at exit, where nobody can say what is wrong
            return status
    except AttentionUNetSegmentError as error:
        return _complain(str(error))
    except Stopped as stop:
        print("Stopped.", file=sys.stderr, flush=True)
        return stop.exit_status
    except BrokenPipeError:
        # Whoever read the output, such as `head`, has enough.
        _drop_output()
        return 0
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            try:
                sys.stdout.flush()
            except OSError:
                _drop_output()
            return _complain(
                f"What was to be written or printed found no room ({error.strerror}); free some."
            )
        if isinstance(error, RuntimeError) and str(error).startswith("Symlink loop"):
            return _complain(
                "A link on the way to a file or folder that is given leads back to itself; give "
                "another path to it."
            )
        if isinstance(error, FileNotFoundError) and not _has_current_folder():
            return _complain("The folder that the command runs in is gone; change to another one.")
        if not is_out_of_memory(error):
            raise
        return _complain("This computer's memory does not suffice for it.")


def _has_current_folder() -> bool:
    try:
        os.getcwd()
    except OSError:
        return False
    return True


def _drop_output() -> None:
    """Let what is still to be printed go nowhere, so that Python does not complain at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _open_streams() -> None:
    """Give the process its output streams where whoever started it closed them, for a file that is
    opened would become one; let any name of a file be shown; and let no work end because nobody
    reads any longer how it goes."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    while nowhere <= 2:
        nowhere = os.open(os.devnull, os.O_RDWR)
    os.close(nowhere)
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(descriptor, "w", closefd=False))  # noqa: SIM115  for good
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # A terminal's stream is left as it is: Windows has one of a kind of its own.
    stream = sys.stderr
    if stream is sys.__stderr__ and stream is not None and not stream.isatty():
        sys.stderr = io.TextIOWrapper(
            io.BufferedWriter(_Forgiving(2, "w", closefd=False)),
            encoding=stream.encoding,
            errors="backslashreplace",
            line_buffering=True,
        )


class _Forgiving(io.FileIO):
    """What cannot be written, to a pipe without a reader or a full disk, is lost."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def _run(arguments: list[str]) -> int:
    with extra_needed("standalone"):
        import typer

        from .commands.segmenting import click_hint
    if any(not argument.strip() or _NO_VALUE.fullmatch(argument) for argument in arguments):
        return _complain(f"An argument is empty. Try '{COMMAND} --help'.")
    # Pictures go into files; a name that Matplotlib does not know would end every command with one.
    os.environ["MPLBACKEND"] = "agg"
    # Matplotlib reports on its font cache, which is nobody's concern here.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    # Not exported by typer, and from its own copy of click or from click, as its version has it.
    usage_error: type[Exception] = typer.BadParameter.__bases__[0]
    command = _command()
    if COMPLETION_VARIABLE in os.environ:  # the shell asks what could come next
        try:
            command.main(arguments, prog_name=COMMAND)
        except SystemExit as end:
            return int(end.code or 0)
    try:
        with command.make_context(COMMAND, arguments) as context:
            command.invoke(context)
    except typer.Exit as end:
        return end.exit_code
    except usage_error as error:
        message = error.format_message()  # type: ignore[attr-defined]
        if type(error).__name__ == "NoArgsIsHelpError":
            print(message)
            return 0
        where = getattr(getattr(error, "ctx", None), "command_path", COMMAND)
        hint = click_hint(arguments)
        message = _PREFIX.sub(r"\1", message).rstrip(".")
        return _complain(hint or f"{message}. Try '{where} --help'.")
    return 0


@cache
def _command() -> Any:
    """All commands with their options; to read them takes longer than many a command."""
    import typer

    from .commands import application

    return typer.main.get_command(application)


def _complain(message: str) -> int:
    """Say in one line what is wrong, and give the exit status for it."""
    print("Error:", " ".join(message.split()), file=sys.stderr, flush=True)
    return CANNOT_BE_DONE

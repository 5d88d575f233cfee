"""How the commands show their help: options in their groups, summaries whole, old spellings not.

Plain text, since it is read by scripts too and must be there at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

ARGUMENTS, OPTIONS = "Arguments", "Options"


class GroupedCommand(TyperCommand):
    """A command whose help has a heading for each group of options."""

    old_spellings: Mapping[str, str] = {}
    """What was written before, with what it means now. ``--old``: ``--new``; ``--old``: an empty
    text where what follows has become an argument; ``--option value``: ``--option=new value``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, list(respelled(args, self.old_spellings)))

    def format_options(self, ctx: Any, formatter: Any) -> None:
        for heading, records in grouped_records(self, ctx).items():
            with formatter.section(heading):
                formatter.write_dl(records)


class WholeSummaries(TyperGroup):
    """A group of commands that shows the first sentence of each command's help, however long."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        for heading, records in grouped_records(self, ctx).items():
            with formatter.section(heading):
                formatter.write_dl(records)
        self.format_commands(ctx, formatter)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [
            (name, command.get_short_help_str(limit=1000))
            for name, command in commands
            if command is not None and not command.hidden
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def grouped_records(command: Any, ctx: Any) -> dict[str, list[tuple[str, str]]]:
    """Names and texts of a command's parameters by their group; arguments and options of no group
    come first."""
    groups: dict[str, list[tuple[str, str]]] = {ARGUMENTS: [], OPTIONS: []}
    for parameter in command.get_params(ctx):
        record = parameter.get_help_record(ctx)
        if record is None:
            continue
        is_argument = parameter.param_type_name == "argument"
        heading = getattr(parameter, "rich_help_panel", None)
        heading = heading or (ARGUMENTS if is_argument else OPTIONS)
        groups.setdefault(heading, []).append(record)
    return {heading: records for heading, records in groups.items() if records}


def respelled(arguments: Sequence[str], old_spellings: Mapping[str, str]) -> Iterator[str]:
    """Arguments as they are spelled now."""
    before = ""
    for number, argument in enumerate(arguments):
        if argument == "--":
            yield from arguments[number:]
            return
        name, equals, value = argument.partition("=")
        if f"{before} {argument}" in old_spellings:  # a value, in two words
            yield old_spellings[f"{before} {argument}"].partition("=")[2]
        elif equals and f"{name} {value}" in old_spellings:  # in one
            yield old_spellings[f"{name} {value}"]
        elif name in old_spellings:
            now = old_spellings[name]
            if now or value:
                yield f"{now}{equals}{value}" if now else value
        else:
            yield argument
        before = argument


def command_with(old_spellings: Mapping[str, str]) -> type[GroupedCommand]:
    """The class of a command that takes old spellings too."""
    return type("Respelled", (GroupedCommand,), {"old_spellings": dict(old_spellings)})


def add_commands(application: typer.Typer, *commands: Any, **old_spellings: Any) -> None:
    """Register functions as commands under their own names, with the old spellings that are given
    here or with their options."""
    for command in commands:
        before = {
            **getattr(command, "old_spellings", {}),
            **old_spellings.get(command.__name__, {}),
        }
        application.command(cls=command_with(before))(command)

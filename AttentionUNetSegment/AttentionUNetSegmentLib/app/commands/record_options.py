"""Commands whose options are the fields of dataclasses (see ``training.option_fields``)."""

from __future__ import annotations

import dataclasses
import inspect
import keyword
import math
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from functools import wraps
from types import UnionType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer

from ...errors import InputError
from ...training.option_fields import GROUPS, OPTION, Option


def with_record_options(function: Callable[..., None]) -> Callable[..., None]:
    """A command with an option for each field of the dataclasses that the function takes.

    >>> @with_record_options
    ... def train(data: Annotated[Path, typer.Argument()], options: TrainingOptions) -> None: ...

    The command has the function's other parameters first; where a field is no option, it keeps its
    default. Options stand in the order of their groups, and of their fields within these. Their old
    spellings are in the command's ``old_spellings``, for :func:`.help_text.add_commands`.
    """
    hints = get_type_hints(function, include_extras=True)
    parameters = inspect.signature(function).parameters.values()
    records = {
        one.name: hints[one.name]
        for one in parameters
        if dataclasses.is_dataclass(hints.get(one.name))
    }
    fields = [field for record in records.values() for field in _option_fields(record)]
    fields.sort(key=lambda field: field.group)
    own = [
        one.replace(kind=one.KEYWORD_ONLY, annotation=hints[one.name])
        for one in parameters
        if one.name not in records
    ]

    @wraps(function)
    def command(**given: Any) -> None:
        made = {name: _record(record, given) for name, record in records.items()}
        function(**{one.name: given[one.name] for one in own}, **made)

    command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [*own, *(field.parameter for field in fields)]
    )
    command.__annotations__ = {one.name: one.annotation for one in own} | {
        field.parameter.name: field.parameter.annotation for field in fields
    }
    command.old_spellings = {  # type: ignore[attr-defined]
        before: now for field in fields for before, now in field.shown.old_spellings.items()
    }
    return command


@dataclasses.dataclass(frozen=True)
class _OptionField:
    """A field of a dataclass as an option of a command."""

    name: str
    shown: Option
    type: Any
    default: Any

    @property
    def group(self) -> int:
        """Number of its heading in the help; those without one come first."""
        return GROUPS.index(self.shown.group) if self.shown.group else -1

    @property
    def flag(self) -> str:
        return self.shown.flag or "--" + self.name.replace("_", "-")

    @property
    def parameter(self) -> inspect.Parameter:
        """Of the command; named as the option is spelled, where Python has such names."""
        default, shown = self.default, self.shown
        annotation = self.type
        if shown.choices:
            members = {one: one for one in shown.choices}
            kinds = Enum(self.name.capitalize(), members, type=str)  # type: ignore[misc]
            annotation, default = kinds, kinds(default)
        elif self._is_texts:
            annotation, default = list[str] | None, None
        elif self._numbers is not None:
            annotation = str | None
            default = default and ",".join(map(str, default))
        option = typer.Option(
            *([shown.flag] if shown.flag else []),
            metavar=shown.metavar,
            help=shown.help,
            min=shown.minimum if self._numbers is None else None,
            max=shown.maximum,
            rich_help_panel=shown.group,
        )
        return inspect.Parameter(
            self.parameter_name,
            inspect.Parameter.KEYWORD_ONLY,
            default=default,
            annotation=Annotated[annotation, option],
        )

    @property
    def parameter_name(self) -> str:
        spelled = self.flag.removeprefix("--").replace("-", "_")
        return self.name if keyword.iskeyword(spelled) else spelled

    def value(self, given: Any) -> Any:
        """What the field gets for what the command was given.

        Raises:
            InputError: it is no list of numbers as the field takes, or not finite.
        """
        if isinstance(given, float) and not math.isfinite(given):
            raise InputError(f"{self.flag} takes a finite number, not '{given}'.")
        if isinstance(given, Enum):
            return given.value
        if self._is_texts:
            return tuple(given or ())
        if self._numbers is not None and given is not None:
            kinds = self._numbers
            count = None if kinds[-1] is Ellipsis else len(kinds)
            return parse_numbers(given, self.flag, kinds[0], count, self.shown.minimum == 0)
        return given

    @property
    def _is_texts(self) -> bool:
        return self.type == tuple[str, ...]

    @property
    def _numbers(self) -> tuple[Any, ...] | None:
        """The types in a tuple of numbers; None for any other field."""
        parts = get_args(self.type) if get_origin(self.type) is UnionType else (self.type,)
        for part in parts:
            if get_origin(part) is tuple and get_args(part)[0] is not str:
                return get_args(part)
        return None


def _option_fields(record: Any) -> Iterator[_OptionField]:
    types = get_type_hints(record)
    for field in dataclasses.fields(record):
        if OPTION in field.metadata:
            yield _OptionField(field.name, field.metadata[OPTION], types[field.name], field.default)


def _record(record: Any, given: Mapping[str, Any]) -> Any:
    return record(
        **{field.name: field.value(given[field.parameter_name]) for field in _option_fields(record)}
    )


def parse_numbers(
    text: str, flag: str, kind: Callable[[str], float], count: int | None, zero: bool
) -> tuple[float, ...]:
    """Numbers above zero, or zero too, that were given with commas between them.

    Args:
        flag: of the option, for messages.
        kind: int or float.
        count: how many there must be; any number of them where it is None.

    Raises:
        InputError: they were not.
    """
    try:
        values = tuple(kind(part) for part in text.split(","))
    except ValueError:
        values = ()
    if not values or not all(0 < value < math.inf or (zero and value == 0) for value in values):
        raise InputError(f"{flag} takes numbers above zero with commas, not '{text}'.")
    if count is not None and len(values) != count:
        raise InputError(f"{flag} takes {count} numbers, not {len(values)}.")
    return values

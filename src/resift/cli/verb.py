"""A typer command that refuses empty names of files, folders and indexes."""

import inspect
from pathlib import Path
from typing import Any, get_args, get_type_hints

from typer.core import TyperCommand

from resift.errors import InputError

_NAMES = {"uri", "source", "folder", "checkpoint", "base", "embedder"}
"""Text parameters that name something; an empty text would mean another folder, or none."""


class Verb(TyperCommand):
    """Refuses an empty name, such as a shell makes of an unset variable.

    `Path("")` would be the current folder.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As typer does; raise `InputError` for ``--output ""``."""
        given, _, _ = self.make_parser(ctx).parse_args(list(args))
        kinds = get_type_hints(inspect.unwrap(self.callback)) if self.callback else {}
        for parameter in self.get_params(ctx):
            kind, value = kinds.get(parameter.name or ""), given.get(parameter.name or "")
            values = value if isinstance(value, list | tuple) else (value,)
            is_of_file = kind is Path or Path in get_args(kind)
            if "" in values and (is_of_file or parameter.name in _NAMES):
                name = parameter.opts[0]
                name = name if name.startswith("-") else name.upper()
                kind_of_name = "the name of a file or folder" if is_of_file else "a name"
                raise InputError(f'{name} "": expected {kind_of_name}, got none')
        return super().parse_args(ctx, args)

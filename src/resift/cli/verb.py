"""A verb of the command, as typer has it, that refuses an empty name of a place."""

import inspect
from pathlib import Path
from typing import Any, get_args, get_type_hints

from typer.core import TyperCommand

from resift.errors import InputError

_PLACES = {"uri", "source", "folder", "checkpoint", "base", "embedder"}
"""Texts that name a place: an empty one would be another place, or as if it were not said."""


class Verb(TyperCommand):
    """Refuses an empty name of a file or folder: `Path` makes the current folder of it.

    Such a name is what a shell makes of a variable that is not set.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As typer does; raise `InputError` for ``--output ""``."""
        given, _, _ = self.make_parser(ctx).parse_args(list(args))
        kinds = get_type_hints(inspect.unwrap(self.callback)) if self.callback else {}
        for parameter in self.get_params(ctx):
            kind, value = kinds.get(parameter.name or ""), given.get(parameter.name or "")
            values = value if isinstance(value, list | tuple) else (value,)
            is_of_file = kind is Path or Path in get_args(kind)
            if "" in values and (is_of_file or parameter.name in _PLACES):
                name = parameter.opts[0]
                name = name if name.startswith("-") else name.upper()
                kind_of_name = "the name of a file or folder" if is_of_file else "a name"
                raise InputError(f'{name} "": expected {kind_of_name}, got none')
        return super().parse_args(ctx, args)

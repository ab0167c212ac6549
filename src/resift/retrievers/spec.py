"""The options of a first stage that is named on a command line: ``ENGINE:TARGET?name=value&…``."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from resift.errors import InputError
from resift.index.embed import Embedder, open_embedder
from resift.rerank.values import whole
from resift.settings import Settings


class SpecOptions:
    """The options of one name. An adapter takes those that it knows; `finish` refuses the others.

    Messages have the names of options and never their values, which may be secrets.
    """

    def __init__(self, engine: str, text: str, settings: Settings) -> None:
        """Parse the part behind the question mark. Raises `InputError`."""
        self.engine = engine
        self._settings = settings
        self._values: dict[str, str] = {}
        self._known: dict[str, None] = {}
        for name, value in parse_qsl(text, keep_blank_values=True):
            if name in self._values:
                raise InputError(f"{engine}: the option {name} is there twice; leave one out")
            self._values[name] = value

    def text(self, name: str) -> str | None:
        """The value of an option; None if it is missing or empty."""
        self._known[name] = None
        return self._values.pop(name, None) or None

    def required(self, name: str, example: str) -> str:
        """The value of an option. Raises `InputError` without one."""
        value = self.text(name)
        if value is None:
            raise InputError(f"{self.engine}: needs the option {name}, such as ?{name}={example}")
        return value

    def names(self, name: str) -> tuple[str, ...]:
        """The values of an option that has several, separated by commas."""
        return tuple(part.strip() for part in (self.text(name) or "").split(",") if part.strip())

    def number(self, name: str) -> int | None:
        """A whole number from 1; None if it is missing. Raises `InputError`."""
        text = self.text(name)
        number = None if text is None else whole(text, text=True)
        if text is not None and (number is None or number < 1):
            raise InputError(f"{self.engine}: {name}: expected a whole number from 1")
        return number

    def embedder(self, name: str = "embed") -> Embedder | None:
        """The embedder that an option names, as `resift.Index` opens it; None without one."""
        model = self.text(name)
        return None if model is None else open_embedder(model, self._settings)

    def others(self) -> Mapping[str, str]:
        """All options that are not taken yet, for an engine that has its own."""
        others, self._values = self._values, {}
        return others

    def given(self, *names: str) -> dict[str, Any]:
        """Those of these options that are there, by name, as arguments of an adapter."""
        values = {name: self.text(name) for name in names}
        return {name: value for name, value in values.items() if value is not None}

    def finish(self) -> None:
        """Raise `InputError` for options that nothing has taken."""
        if self._values:
            unknown = " and ".join(f"{name:.40}" for name in self._values)
            expected = ", ".join(self._known) or "no options"
            raise InputError(f"{self.engine}: {unknown}: not an option; expected {expected}")

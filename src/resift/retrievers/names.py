"""Opens a first stage by its name, as ``resift eval --first-stage`` has it.

A name is ``MODULE:ATTRIBUTE`` or ``FILE.py:ATTRIBUTE``, which names a retriever of Python or a
function that makes one, or ``ENGINE:TARGET?name=value&…``. The adapter of an engine is a module
with ``from_spec(target, options)``, which returns the retriever and takes the options that it
knows. It is imported when it is named. No message has the target, which may contain a password.
"""

import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import parse_qsl, quote, unquote

from resift.errors import InputError, ResiftError, shortened
from resift.extras import require
from resift.retrievers.spec import SpecOptions
from resift.search.retriever import Retriever
from resift.settings import Settings

_WEB = ("http", "https")
_SECRET = ("key", "password", "secret", "token", "credential")
ENGINES: Mapping[str, tuple[str, str]] = {
    "sqlite": ("sqlite", "sqlite"),
    "postgresql": ("postgres", "postgres"),
    "postgres": ("postgres", "postgres"),
    "duckdb": ("duckdb", "duckdb"),
    "elasticsearch": ("elasticsearch", "elasticsearch"),
    "opensearch": ("opensearch", "opensearch"),
    "qdrant": ("qdrant", "qdrant"),
    "s3-vectors": ("s3_vectors", "s3-vectors"),
    "lancedb": ("lancedb", "lancedb"),
}
"""The module in `resift.retrievers` and the extra of each engine."""

_USER = re.compile(r"://[^\s/@]*@")

_EXPECTED = (
    f"expected MODULE:ATTRIBUTE, or ENGINE:TARGET with one of {', '.join(ENGINES)} as the engine"
)


def open_retriever(spec: str, settings: Settings | None = None) -> Retriever:
    """Open the first stage of this name.

    The target of an engine is what is between its colon and the question mark, such as the path in
    ``sqlite:notes.db?table=notes``. For a server it is the URL: that of
    ``elasticsearch+http://host:9200/index?text=body`` is ``http://host:9200/index``, that of
    ``postgresql://host/db?table=docs`` is ``postgresql://host/db``. Raises `InputError` for a name
    that names nothing, `MissingExtra`, and the errors of the engine's client.
    """
    engine, target = _engine(spec)
    if engine is None:
        return _from_python(spec)
    module, extra = ENGINES[engine]
    target, _, text = target.partition("?")
    if not target:
        raise InputError(f"{engine}: names no target; expected {engine}:TARGET")
    _check_password(engine, target)
    options = SpecOptions(engine, text, settings or Settings.load())
    retriever: Retriever = require(f"resift.retrievers.{module}", extra).from_spec(target, options)
    return retriever


def without_secrets(message: str, spec: str) -> str:
    """A message without the password and the keys that a name has, and without users of URLs."""
    address, _, text = spec.partition("?")
    user, at, _ = address.partition("://")[2].rpartition("@")
    secrets = [user.partition(":")[2] if at else ""]
    secrets += [
        value for name, value in parse_qsl(text) if any(part in name.lower() for part in _SECRET)
    ]
    for secret in sorted({*secrets, *map(unquote, secrets), *map(quote, secrets)}, key=len)[::-1]:
        if secret:
            message = message.replace(secret, "…")
    return _USER.sub("://…@", message)


def _engine(spec: str) -> tuple[str | None, str]:
    """The engine of a name and its target with the options; None if the name is one of Python."""
    scheme, colon, rest = spec.partition(":")
    name, plus, transport = scheme.partition("+")
    if not colon or name not in ENGINES or (plus and transport not in _WEB):
        return None, spec
    if plus:
        return name, f"{transport}:{rest}"
    is_url = ENGINES[name][0] == "postgres"
    return name, spec if is_url else rest


def _check_password(engine: str, target: str) -> None:
    """Raise `InputError` for a URL whose password would be read as a part of the host."""
    _, separator, rest = target.partition("://")
    if separator and rest.partition("/")[0].count("@") > 1:
        raise InputError(f"{engine}: the user or password in the URL has an @: write it as %40")


def _from_python(spec: str) -> Retriever:
    """The retriever of ``MODULE:ATTRIBUTE``, imported from the working folder or Python's path."""
    module, colon, attribute = spec.rpartition(":")
    is_file = module.endswith(".py")
    if not (colon and _is_dotted(attribute) and (is_file or _is_dotted(module))):
        raise InputError(f"--first-stage {_scheme(spec)}: {_EXPECTED}")
    value: Any = _imported(module, is_file)
    for name in attribute.split("."):
        if not hasattr(value, name):
            raise InputError(f"{module}: has no {attribute}; expected the name of a retriever")
        value = getattr(value, name)
    return _retriever_of(spec, value)


def _imported(name: str, is_file: bool) -> ModuleType:
    if not is_file and importlib.util.find_spec(name.partition(".")[0]) is None:
        folder = str(Path.cwd())
        if folder not in sys.path:
            sys.path.insert(0, folder)
            importlib.invalidate_caches()
    try:
        return _module_of_file(Path(name)) if is_file else importlib.import_module(name)
    except (ResiftError, KeyboardInterrupt):
        raise
    except BaseException as error:  # a script that ends by sys.exit() must not end this process
        if isinstance(error, ModuleNotFoundError) and error.name == name:
            raise InputError(f"--first-stage {name}: no such module; {_EXPECTED}") from error
        kind = type(error).__name__
        raise InputError(f"--first-stage {name}: cannot be imported: {kind}: {error}") from error


def _module_of_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise InputError(f"--first-stage {path}: no such file")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise InputError(f"--first-stage {path}: expected a file of Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)
    spec.loader.exec_module(module)
    return module


def _retriever_of(spec: str, value: Any) -> Retriever:
    """A retriever, or what a function without arguments or a class makes."""
    if not callable(value):
        raise InputError(
            f"--first-stage {shortened(spec)}: is {type(value).__name__}; expected a function of a "
            "query and the number of documents, or one without arguments that returns it"
        )
    if not isinstance(value, type) and _takes(value, "query", 1):
        retriever: Retriever = value
        return retriever
    if not _takes(value):
        raise InputError(
            f"--first-stage {shortened(spec)}: takes other arguments; expected a function of a "
            "query and the number of documents, or one without arguments that returns it"
        )
    made = value()
    if isinstance(made, type) or not callable(made) or not _takes(made, "query", 1):
        raise InputError(
            f"--first-stage {shortened(spec)}: returned {type(made).__name__}; expected a function "
            "of a query and the number of documents"
        )
    made_retriever: Retriever = made
    return made_retriever


def _takes(function: Any, *arguments: object) -> bool:
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError:
        return False
    except ValueError:  # a function of C without a signature
        return True
    return True


def _is_dotted(name: str) -> bool:
    return all(part.isidentifier() for part in name.split("."))


def _scheme(spec: str) -> str:
    """The part of a name that has no secret."""
    scheme, colon, _ = spec.partition(":")
    return f"{shortened(scheme)}{colon}…" if colon else shortened(spec)

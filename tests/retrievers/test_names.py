"""Names of first stages, of Python and of engines; wrong ones are told without their secrets."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from resift.errors import InputError, MissingExtra
from resift.retrievers.names import ENGINES, open_retriever, without_secrets

CODE = """
import functools
def search(query, k): return [query, k]
def make(): return search
class Made:
    def __call__(self, query, k): return ["made", k]
class Needs:
    def __init__(self, url): pass
    def __call__(self, query, k): return []
made = Made()
partial = functools.partial(search)
def three(a, b, c): return []
def none(): return None
number = 3
class group:
    search = staticmethod(search)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "stages_of_test.py").write_text(CODE)
    (tmp_path / "broken_of_test.py").write_text("1 / 0")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    for name in ("stages_of_test", "broken_of_test"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("name", ["search", "make", "Made", "made", "partial", "group.search"])
@pytest.mark.parametrize("module", ["stages_of_test", "stages_of_test.py", "./stages_of_test.py"])
def test_retrievers_of_python(folder: Path, module: str, name: str) -> None:
    documents: Any = open_retriever(f"{module}:{name}")("q", 4)
    assert documents in (["q", 4], ["made", 4])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "expected MODULE:ATTRIBUTE"), ("notes.db", "expected MODULE:ATTRIBUTE"),
        ("mongodb://u:secret@h/db", "expected MODULE:ATTRIBUTE"), (":search", "expected MODULE"),
        ("stages_of_test:", "expected MODULE"), ("stages_of_test:nothing", "has no nothing"),
        ("no_such_module:x", "no such module; expected MODULE:ATTRIBUTE"),
        ("missing.py:x", "no such file"),
        ("broken_of_test:x", "ZeroDivisionError"), ("stages_of_test:number", "is int"),
        ("stages_of_test:three", "takes other arguments"),
        ("stages_of_test:Needs", "takes other arguments"),
        ("stages_of_test:none", "returned NoneType"),
        ("sqlite:", "names no target"), ("sqlite:notes.db", "needs the option table"),
        ("sqlite:n.db?table=a&table=b", "twice"), ("sqlite:n.db?table=a&x=b", "x: not an option"),
        ("postgresql://u:p@secret@h/db?table=t", "write it as %40"),
        ("sqlite+ftp:x?table=a", "expected MODULE"),
    ],
)  # fmt: skip
def test_wrong_names_are_told(folder: Path, spec: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        open_retriever(spec)
    assert message in str(error.value) and "\n" not in str(error.value)
    assert "u:" not in str(error.value) and "@h" not in str(error.value)


@pytest.mark.parametrize("engine", ENGINES)
def test_each_engine_has_an_adapter(engine: str) -> None:
    module, extra = ENGINES[engine]
    try:
        adapter = __import__(f"resift.retrievers.{module}", fromlist=["from_spec"])
    except MissingExtra as error:
        assert f"resift[{extra}]" in str(error)
    else:
        assert callable(adapter.from_spec)


def test_secrets_are_left_out_of_messages() -> None:
    spec = "elasticsearch+https://user:p%40ss@host/index?api_key=abc%3D%3D&text=body"
    message = "p%40ss p@ss abc== abc%3D%3D body user host"
    assert without_secrets(message, spec) == "… … … … body user host"
    assert without_secrets("text", "module:attribute") == "text"
    assert (
        without_secrets("at https://user:word@host/a", "module:attribute") == "at https://…@host/a"
    )

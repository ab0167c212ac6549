"""The programs of the docs for clients run as they are, but for the port."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest

from serve.dialects.clients.installed import installed

DOCS = Path(__file__).parents[4] / "docs" / "dialects.md"
PROGRAMS = re.findall(r"^```python\n(.*?)^```", DOCS.read_text(encoding="utf-8"), re.M | re.S)

pytestmark = pytest.mark.filterwarnings("ignore")  # of the clients' packages


def imported(program: str) -> list[str]:
    """The modules that a program imports, in order."""
    modules = []
    for node in ast.walk(ast.parse(program)):
        if isinstance(node, ast.ImportFrom):
            modules.append(str(node.module))
        elif isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
    return modules


@pytest.mark.parametrize("program", PROGRAMS, ids=[imported(text)[-1] for text in PROGRAMS])
def test_a_program_of_the_docs_finds_the_best_text(
    server: str, program: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in imported(program):
        installed(module)
    assert "http://localhost:8080" in program
    names: dict[str, Any] = {}
    exec(program.replace("http://localhost:8080", server), names)
    assert capsys.readouterr().out == "Choose Settings, then press Reset password.\n"

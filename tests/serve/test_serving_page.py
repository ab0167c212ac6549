"""Proves that docs/serving.md is true: its commands, requests, answers, paths, limits, files."""

import importlib
import inspect
import json
import re
import shlex
from collections.abc import Iterator
from itertools import pairwise
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from resift.jobs.serve_forward import ForwardCounts
from resift.jobs.serve_metrics import IngressMetrics
from resift.serve.app import create_app
from resift.serve.gate import MCP_PATH, OPEN_PATHS
from resift.serve.options import PORT, ServeOptions
from resift.settings import Settings
from serve.deploy_files import ROOT, parsed

PAGE = (ROOT / "docs/serving.md").read_text(encoding="utf-8")
HERE = f"http://127.0.0.1:{PORT}"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
BLOCKS = [(match[1], match[2]) for match in BLOCK.finditer(PAGE)]
PROSE = BLOCK.sub("", PAGE)
FOLDERS = ("/tmp/", "/var/")
"""Absolute paths in the page that are folders, not paths of the server."""


def commands(program: str) -> Iterator[list[str]]:
    """The arguments of a program in the blocks without a language, as a shell splits them."""
    for language, block in BLOCKS:
        for line in re.split(r"^(?=\w+ )", block, flags=re.M) if not language else ():
            if line.startswith(f"{program} "):
                yield shlex.split(line, comments=True)[1:]


REQUESTS = [arguments for arguments in commands("curl") if any(HERE in part for part in arguments)]
"""The examples that ask a server on this machine."""


def sent(arguments: list[str], server: str, passage: str) -> httpx2.Response:
    """The answer of the server to a command line of curl."""
    (url,) = [argument for argument in arguments if argument.startswith(HERE)]
    url = url.replace(HERE, server).replace("/ID", f"/{quote(passage, safe='/')}")
    options = dict(pairwise(arguments))
    headers = dict([options["-H"].split(": ")]) if "-H" in options else {}
    if "--json" not in options:
        return httpx2.get(url, headers=headers)
    return httpx2.post(url, headers=headers, json=json.loads(options["--json"]), timeout=60)


def contains(whole: Any, part: Any) -> bool:
    """Whether `whole` has all fields and entries of `part` with the same values."""
    match part:
        case dict():
            return all(name in whole and contains(whole[name], part[name]) for name in part)
        case list():
            return len(whole) == len(part) and all(map(contains, whole, part))
    return bool(whole == part)


@pytest.fixture(scope="module")
def passage(server: str) -> str:
    """The id of a passage of the server's index."""
    body = {"query": "who approves vacation", "top_n": 1}
    return str(httpx2.post(f"{server}/v1/search", json=body).json()["hits"][0]["id"])


def test_all_kinds_of_examples_are_found() -> None:
    assert len(REQUESTS) >= 8
    assert len(list(commands("resift"))) >= 5
    assert len([language for language, _ in BLOCKS if language == "json"]) >= 2


@pytest.mark.parametrize("arguments", REQUESTS, ids=lambda arguments: " ".join(arguments)[:60])
def test_a_request_is_answered(arguments: list[str], server: str, passage: str) -> None:
    answer = sent(arguments, server, passage)
    wrong = '"model": "none"' in " ".join(arguments)
    assert answer.status_code == (404 if wrong else 200), answer.text


def test_answers_have_what_the_page_shows_of_them(server: str, passage: str) -> None:
    shown = re.findall(r"^```\n(curl [^`]+)^```\n(?:\n[^\n]+\n\n)?```json\n([^`]+)^```", PAGE, re.M)
    assert len(shown) == len([language for language, _ in BLOCKS if language == "json"])
    for command, answer in shown:
        response = sent(shlex.split(command)[1:], server, passage)
        assert contains(response.json(), json.loads(answer)), response.text


def test_a_part_that_differs_is_noticed() -> None:
    assert contains({"a": [{"b": 1, "c": 2}]}, {"a": [{"b": 1}]})
    assert not contains({"a": [{"b": 1}]}, {"a": [{"b": 2}]})
    assert not contains({"a": []}, {"a": [{"b": 2}]}) and not contains({}, {"a": 1})


def test_a_stream_has_the_events_that_are_named(server: str) -> None:
    (request,) = [arguments for arguments in REQUESTS if "--no-buffer" in arguments]
    events = re.findall(r"^event: (\w+)$", sent(request, server, "").text, re.M)
    assert events == ["first_stage", "ranking"]
    assert "`first_stage`" in PROSE and "then `ranking`" in PROSE and "`error`" in PROSE


@pytest.mark.parametrize("arguments", list(commands("resift")), ids=" ".join)
def test_a_command_is_one_of_resift(arguments: list[str]) -> None:
    parsed(arguments)


def test_the_table_of_options_has_those_of_the_command() -> None:
    import resift.cli.serve as command

    table = PROSE.partition("## Options")[2].partition("\n## ")[0]
    named = set(re.findall(r"`(--[\w-]+)", table))
    parameters = set(inspect.signature(command.serve).parameters)
    assert named == {f"--{name.replace('_', '-')}" for name in parameters}


def test_the_paths_of_the_page_are_paths_of_the_server() -> None:
    app = create_app(ServeOptions())
    known = {*app.openapi()["paths"], *OPEN_PATHS, MCP_PATH, "/openapi.json"}
    known = {re.sub(r"\{\w+\}", "{id}", path) for path in known}
    named = set(re.findall(r"`(/[^`\s]*)`", PROSE))
    assert {path for path in named if not path.startswith(FOLDERS)} <= known
    dialects = {path for path in known if path.count("/") > 1 and "rerank" in path}
    missing = {path for path in dialects - named if not path.startswith(("/v1/", "/v2/"))}
    assert missing == set(), "each path of a dialect is in the table"
    assert f"`{'`, `'.join(OPEN_PATHS[:4])}` and the page need no key" in PROSE


def test_limits_are_those_of_the_code() -> None:
    rows = re.findall(
        r"^\| [^|]+ \| ([\d,]+) \| \[\w+\.py\]\(../src/(\S+)\.py\): `(\w+)` \|$", PAGE, re.M
    )
    table = PAGE.partition("## Limits")[2].partition("\n## ")[0]
    assert len(rows) == table.count("\n|") - 2 >= 10
    for value, file, constant in rows:
        module = importlib.import_module(file.replace("/", "."))
        assert float(value.replace(",", "")) == getattr(module, constant), constant


def test_limits_in_sentences_are_those_of_the_code() -> None:
    from resift.serve.gate import MAX_BODIES_BYTES
    from resift.serve.server import DRAIN_S
    from resift.serve.service import RENEW_S

    defaults = Settings()
    assert f"for up to {DRAIN_S} seconds" in PROSE and f"within {RENEW_S:.0f} seconds" in PROSE
    assert f"({MAX_BODIES_BYTES // 1_000_000} MB at most)" in PROSE
    assert f"`RESIFT_MAX_MEMORY_MB` ({defaults.max_memory_mb})" in PROSE
    assert f"`RESIFT_CACHE_GB` ({defaults.cache_gb})" in PROSE
    options = ServeOptions()
    assert f"| {options.host} and {options.port};" in PROSE
    assert f"work may wait ([below](#overload)); {options.max_queue_tokens} |" in PROSE


def test_variables_and_metrics_exist(server: str, caplog: pytest.LogCaptureFixture) -> None:
    variables = set(re.findall(r"\bRESIFT_[A-Z_]+\b", PAGE))
    Settings.load(dict.fromkeys(variables, "512"))
    assert variables and caplog.messages == []
    metrics = httpx2.get(f"{server}/metrics").text
    metrics += IngressMetrics().exposition(ForwardCounts())
    named = set(re.findall(r"\bresift_[a-z_]+\b", PAGE))
    types = {f"\n# TYPE {name} " for name in named}
    assert types and {line for line in types if line not in f"\n{metrics}"} == set()


def test_files_that_are_named_without_a_link_exist() -> None:
    files = re.findall(r"`((?:benchmarks|deploy|src)/[^`\s]+)`", PROSE)
    assert files and [file for file in files if not (ROOT / file).exists()] == []
    anchors = re.findall(r"\]\(#([\w-]+)\)", PROSE)
    headings = [re.sub(r"\W+", "-", line.lower()) for line in re.findall(r"^## (.+)$", PAGE, re.M)]
    assert anchors and set(anchors) <= set(headings)


def test_the_proxy_lets_through_what_the_server_takes() -> None:
    from resift.serve.gate import MAX_BODY_BYTES

    (conf,) = [block for language, block in BLOCKS if language == "nginx"]
    settings = dict(re.findall(r"^\s*(\w+) (.+);$", conf, re.M))
    assert f"server 127.0.0.1:{PORT};" in conf and settings["proxy_pass"] == "http://resift"
    assert settings["proxy_buffering"] == "off" and settings["proxy_http_version"] == "1.1"
    megabytes = int(settings["client_max_body_size"].removesuffix("m"))
    assert MAX_BODY_BYTES <= megabytes << 20 < 2 * MAX_BODY_BYTES

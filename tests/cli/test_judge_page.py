"""The page's server: only with the URL, only from its own page, only known keys."""

import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, quote, urlsplit

import pytest

from cli.command import PROGRAM, Resift
from evaluation.small_collection import make_collection, make_run
from resift.cli.judge_page import JudgeServer
from resift.evaluation.judging import JudgingSession
from resift.evaluation.judgments import Judgments
from resift.evaluation.pool import Pool
from resift.evaluation.trec import read_qrels
from resift.types import Document

QUERIES = {"q1": "what is <b>bold</b>", "q2": "second"}
POOL = Pool((Document("d1", "<script>bold</script>\n\x1b[1m", "A <title>"), Document("d2", "two")))
JSON = {"Content-Type": "application/json"}
Answer = tuple[int, dict[str, Any]]


class Page:
    """A server over two queries, and requests to it as no browser would send them."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.server = JudgeServer(JudgingSession(QUERIES, lambda _: POOL, Judgments(file)), 0)
        self.thread = threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def request(
        self, method: str, name: str, body: bytes = b"", headers: Mapping[str, str] = JSON,
        token: str | None = None,
    ) -> tuple[http.client.HTTPResponse, bytes]:  # fmt: skip
        url = urlsplit(self.server.url)
        path = url.path if token is None else f"/{token}/"
        wire = http.client.HTTPConnection("127.0.0.1", url.port or 0, timeout=20)
        try:
            wire.request(method, path + name, body or None, dict(headers))
            response = wire.getresponse()
            return response, response.read()
        finally:
            wire.close()

    def get(self, name: str, **options: Any) -> Answer:
        response, data = self.request("GET", name, **options)
        return response.status, json.loads(data)

    def post(self, body: bytes, **options: Any) -> Answer:
        response, data = self.request("POST", options.pop("name", "press"), body, **options)
        return response.status, json.loads(data)

    def press(self, key: object, shown: object = "now") -> Answer:
        """A key for the current candidate, or for another one."""
        if shown == "now":
            shown = self.get("item")[1].get("item", {}).get("shown")
        return self.post(json.dumps({"key": key, "shown": shown}).encode())

    @property
    def qrels(self) -> dict[str, dict[str, float]]:
        return read_qrels(self.file) if self.file.exists() else {}


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    page = Page(tmp_path / "judgments.tsv")
    yield page
    page.close()


def test_pressing_a_key_judges_and_returns_the_next_candidate(page: Page) -> None:
    status, state = page.get("item")
    first = state["item"]["shown"]
    assert status == 200 and state["judged"] == 0 and first[0] == "q1"
    status, state = page.press("2")
    assert status == 200 and state["judged"] == 1 and state["item"]["shown"] != first
    assert page.qrels == {"q1": {first[1]: 2}}
    assert page.press("b")[1]["item"]["taken_back"] == 2
    assert page.qrels == {}


def test_at_the_end_there_is_no_candidate_and_back_works(page: Page) -> None:
    for _ in range(4):
        status, state = page.press("1")
    assert status == 200 and "item" not in state and state["judged"] == 4
    assert page.press("0")[0] == HTTPStatus.BAD_REQUEST
    assert page.press("b")[1]["item"]["taken_back"] == 1


def test_texts_come_in_pieces_without_control_characters(page: Page) -> None:
    while (item := page.get("item")[1]["item"])["shown"] != ["q1", "d1"]:
        page.press("s")
    assert item["query"] == QUERIES["q1"]
    assert "".join(piece for piece, _ in item["text"]) == "<script>bold</script>\n [1m"
    assert ["bold", True] in item["text"]


@pytest.mark.parametrize("name", ["", "item", "judge.js", "judge.css", "absent"])
@pytest.mark.parametrize("token", ["", "x", "é", "../"])
def test_without_the_secret_nothing_is_served(page: Page, name: str, token: str) -> None:
    status, response = page.get(name, token=quote(token))
    assert status == HTTPStatus.FORBIDDEN and list(response) == ["error"]
    assert page.server.token not in response["error"]


def test_without_the_secret_nothing_is_judged(page: Page) -> None:
    body = json.dumps({"key": "2", "shown": page.get("item")[1]["item"]["shown"]}).encode()
    assert page.post(body, token="wrong")[0] == HTTPStatus.FORBIDDEN
    assert page.post(body, token=page.server.token[:-1])[0] == HTTPStatus.FORBIDDEN
    assert page.qrels == {}


def test_each_server_has_another_secret(page: Page, tmp_path: Path) -> None:
    with JudgeServer(page.server.session, 0) as other:
        assert other.token != page.server.token and len(other.token) >= 32


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "evil.example:{port}"]
)
def test_another_host_name_is_refused(page: Page, host: str) -> None:
    headers = JSON | {"Host": host.format(port=page.server.server_port)}
    assert page.get("item", headers=headers)[0] == HTTPStatus.FORBIDDEN
    body = json.dumps({"key": "2", "shown": page.get("item")[1]["item"]["shown"]}).encode()
    assert page.post(body, headers=headers)[0] == HTTPStatus.FORBIDDEN
    assert page.qrels == {}


def test_its_host_names_are_accepted(page: Page) -> None:
    for name in ("127.0.0.1", "localhost"):
        host = f"{name}:{page.server.server_port}"
        headers = {"Host": host, "Origin": f"http://{host}"}
        assert page.get("item", headers=headers)[0] == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1"])
def test_another_page_is_refused_even_with_the_secret(page: Page, origin: str) -> None:
    assert page.get("item", headers={"Origin": origin})[0] == HTTPStatus.FORBIDDEN


@pytest.mark.parametrize("body", [b"", b"{", b"7", b"[]", b"null", b'"key"', b"\xff",
                                  b'{"key": "2"}', b'{"shown": ["q1", "d1"]}'])  # fmt: skip
def test_an_invalid_key_is_refused(page: Page, body: bytes) -> None:
    status, response = page.post(body)
    assert status == HTTPStatus.BAD_REQUEST and "key and shown" in response["error"]


@pytest.mark.parametrize("key", ["3", "9", "x", "", "22", "²", 2, None, ["2"]])
def test_a_grade_outside_of_the_scale_is_refused(page: Page, key: object) -> None:
    status, response = page.press(key)
    assert status == HTTPStatus.BAD_REQUEST and "expected" in response["error"]
    assert page.qrels == {}


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_requests_that_a_form_can_send_are_refused(page: Page, kind: str) -> None:
    body = json.dumps({"key": "2", "shown": page.get("item")[1]["item"]["shown"]}).encode()
    assert page.post(body, headers={"Content-Type": kind})[0] == HTTPStatus.BAD_REQUEST
    assert page.qrels == {}


def test_a_key_for_a_candidate_that_is_not_next_judges_nothing(page: Page) -> None:
    old = page.get("item")[1]["item"]["shown"]
    page.press("2")
    before = page.qrels
    for shown in (old, None, ["q1"], "d1"):
        assert page.press("0", shown)[0] == HTTPStatus.CONFLICT
    assert page.qrels == before


def test_a_body_that_is_too_long_or_has_no_length_is_refused(page: Page) -> None:
    assert page.post(b" " * 10_001)[0] == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    assert page.post(b"{}", headers=JSON | {"Content-Length": "-2"})[0] == HTTPStatus.BAD_REQUEST


def test_other_paths_are_not_found(page: Page) -> None:
    assert page.get("../qrels.tsv")[0] == HTTPStatus.NOT_FOUND
    assert page.post(b"{}", name="item")[0] == HTTPStatus.NOT_FOUND


@pytest.mark.parametrize("name", ["", "item", "judge.js", "judge.css", "absent"])
def test_every_response_forbids_to_load_other_hosts(page: Page, name: str) -> None:
    response, data = page.request("GET", name)
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Referrer-Policy"] == "no-referrer"
    assert not re.search(rb"https?://|@import|innerHTML|eval\(", data)


def test_only_this_machine_can_reach_it(page: Page) -> None:
    assert page.server.server_address[0] == "127.0.0.1"


def test_an_open_connection_does_not_block_others(page: Page) -> None:
    with socket.create_connection(("127.0.0.1", page.server.server_port)):
        assert page.get("item")[0] == 200


def test_a_file_that_another_program_changed_is_an_error_and_the_page_stays(page: Page) -> None:
    page.press("2")
    page.file.write_text("q1\td1\t1\n")
    status, response = page.press("1")
    assert status == HTTPStatus.INTERNAL_SERVER_ERROR and "another program" in response["error"]
    assert page.get("item")[0] == 200


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    folder = make_collection(tmp_path / "made")
    run = make_run(tmp_path / "run.trec", {"q1": ["d4", "d3"]})
    return ["judge", str(folder), "--run", str(run), "--web"]


@contextmanager
def served(arguments: list[str]) -> Iterator[tuple[subprocess.Popen[str], SplitResult]]:
    """The command in a process of its own, and the URL that it prints."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stderr
            match = re.search(r"http://127\.0\.0\.1:\d+/\S+/", process.stderr.readline())
            assert match
            yield process, urlsplit(match.group())
        finally:
            process.kill()


def test_the_command_says_where_the_page_is_and_ends_with_q_there(arguments: list[str]) -> None:
    with served(arguments) as (process, url):
        for key in ("2", "q"):
            wire = http.client.HTTPConnection("127.0.0.1", url.port or 0, timeout=20)
            wire.request("GET", url.path + "item")
            shown = json.load(wire.getresponse())["item"]["shown"]
            wire.request("POST", url.path + "press", json.dumps({"key": key, "shown": shown}), JSON)
            response = json.load(wire.getresponse())
            wire.close()
        assert response == {"ended": True, "judged": 1}
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "")
    assert err.endswith("judgments.tsv: 1 judged; repeat the command to continue\n")


def test_the_command_ends_with_an_interrupt_too(arguments: list[str]) -> None:
    with served(arguments) as (process, _):
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "")
    assert err.endswith("judgments.tsv: 0 judged; repeat the command to continue\n")


def test_an_unavailable_port_is_an_error_in_a_line(resift: Resift, arguments: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for port in (taken.getsockname()[1], 70_000):
            assert f"port {port}: cannot be used" in resift(*arguments, "--port", port).error

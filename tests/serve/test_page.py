"""Proves that the page's files are served to all, are checked by ETag, and may run nothing else."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from resift.serve.app import create_app
from resift.serve.options import ServeOptions
from resift.serve.page.page import TYPES, assets
from resift.serve.service import Service

SCRIPTS = sorted(name for name in assets() if name.endswith(".js"))
PATHS = ["/", *(f"/page/{name}" for name in sorted(assets()))]
HERE = "http://localhost:8080"
IMPORT = re.compile(r'(?:from|import) "\./([^"]+)"')


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[TestClient]:
    with TestClient(create_app(ServeOptions(), service), HERE) as client:
        yield client


def test_every_file_that_the_page_names_is_there(client: TestClient) -> None:
    html = client.get("/").text
    named = set(re.findall(r'(?:href|src)="(page/[^"]+)"', html))
    assert named == {"page/page.css", "page/page.js"}
    for name in SCRIPTS:
        imported = IMPORT.findall(client.get(f"/page/{name}").text)
        named |= {f"page/{each}" for each in imported}
    assert named == {f"page/{name}" for name in assets() if not name.endswith(".html")}


@pytest.mark.parametrize("path", PATHS)
def test_headers_let_a_file_run_nothing_but_the_page(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    policy = dict(rule.split(" ", 1) for rule in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["content-type"] == TYPES[(path.rpartition(".")[2] if "." in path else "html")]


@pytest.mark.parametrize("path", PATHS)
def test_a_file_is_sent_again_only_if_it_has_changed(client: TestClient, path: str) -> None:
    first = client.get(path)
    assert first.headers["cache-control"] == "no-cache"
    etag = first.headers["etag"]
    for known in (etag, f'"other", W/{etag}'):
        second = client.get(path, headers={"if-none-match": known})
        assert (second.status_code, second.content) == (304, b"")
        assert second.headers["etag"] == etag
        assert "content-security-policy" in second.headers
    assert client.get(path, headers={"if-none-match": '"other"'}).content == first.content


def test_different_files_have_different_etags() -> None:
    assert len({asset.etag for asset in assets().values()}) == len(assets())


@pytest.mark.parametrize("path", PATHS)
def test_head_is_get_without_a_body(client: TestClient, path: str) -> None:
    head, get = client.head(path), client.get(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(get.content))
    assert head.headers["etag"] == get.headers["etag"]


@pytest.mark.parametrize(
    "path",
    ["/page/none.js", "/page/page.py", "/page/__init__.py", "/page/", "/page/..%2Fpage.py",
     "/page/%2e%2e%2f%2e%2e%2fkeys.py", "/page/page.js/", "/page/%00"],
)  # fmt: skip
def test_no_other_file_is_served(client: TestClient, path: str) -> None:
    response = client.get(path, follow_redirects=False)
    assert response.status_code in (307, 404)
    assert b"import" not in response.content


def test_an_unknown_file_is_an_error_of_one_line(client: TestClient) -> None:
    error = client.get("/page/none.js").json()["error"]
    assert error["kind"] == "not_found"
    assert error["message"] == "the page has no such file"


def test_the_page_needs_no_key_and_what_it_asks_does(service: Service, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("a-key-of-a-caller-0001\n")
    with TestClient(create_app(ServeOptions(keys=keys), service), HERE) as client:
        assert [client.get(path).status_code for path in PATHS] == [200] * len(PATHS)
        assert client.get("/v1/indexes").status_code == 401


@pytest.mark.parametrize("name", sorted(assets()))
def test_a_file_names_no_other_host_and_makes_no_markup_of_texts(name: str) -> None:
    text = assets()[name].data.decode()
    assert not re.search(r"(?:https?:)?//\w[\w.]*\.\w", text)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", text)
    assert not re.search(r"<script(?![^>]*\bsrc=)|\son\w+=\"|style=\"", text)
    assert text.count("\n") <= 300


def test_a_page_elsewhere_cannot_pass_for_this_one(service: Service) -> None:
    options = ServeOptions(allowed_hosts=("search.example",))
    with TestClient(create_app(options, service), "http://evil.example:8080") as client:
        for path in PATHS:
            response = client.get(path)
            assert (response.status_code, response.json()["error"]["kind"]) == (403, "forbidden")
        assert "evil.example:8080" in response.json()["error"]["message"]
        assert client.get("/", headers={"host": "search.example"}).status_code == 200

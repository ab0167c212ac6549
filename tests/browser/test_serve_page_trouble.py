"""The server's page where something is wrong: keys, errors, a lost server, and hostile texts."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from browser.conftest import Held
from browser.serving import QUERY, TEXTS, hits, keys, opened, rank, text, write
from resift.errors import Overloaded

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from resift.serve.service import Service

KEY = "a-key-of-a-caller-0001"
NOT_LOADED = "Failed to load resource"  # how Chromium logs every status from 400

HOSTILE = [
    "<img src=x onerror=alert(1)><script>document.title = 'hit'</script> password",
    "</textarea></p></body><h1>gone</h1><style>body { display: none }</style>",
    "{{constructor.constructor('alert(1)')()}} ${alert(1)} javascript:alert(1)",
    "right \u202eto left\u202c, \u2066alone\u2069 and never closed \u202e\u2067 password",
    "a NUL \x00 and a bell \x07 and an escape \x1b[31m and \x9f",
    "e" + "\u0301" * 500 + " 👩‍👩‍👧‍👦🏳️‍🌈 " + "\U0001f642" * 50,
    "x" * 100_000,
    "שלום <b>עולם</b> 123 (abc) password",
]


@pytest.fixture
def troubled(browser: "Browser") -> Iterator["Page"]:
    """An empty page; fails afterwards where it had an error that is not a status."""
    with browser.new_context() as context:
        page = context.new_page()
        page.set_default_timeout(20_000)
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
        page.on("dialog", lambda dialog: wrong.append(f"dialog: {dialog.message}"))
        page.on("console", lambda line: wrong.append(line.text) if is_wrong(line) else None)
        yield page
    assert wrong == []


def is_wrong(line: Any) -> bool:
    return line.type == "error" and NOT_LOADED not in line.text


@pytest.fixture
def served(server: str, troubled: "Page") -> "Page":
    """The page of the server, ready."""
    troubled.goto(server)
    troubled.locator("#index option").first.wait_for(state="attached")
    return troubled


@pytest.fixture
def guarded(service: "Service", tmp_path: Path, troubled: "Page") -> Iterator["Page"]:
    """The page of a server that needs `KEY`."""
    from resift.serve.options import ServeOptions
    from serve.running import running

    (tmp_path / "keys").write_text(f"{KEY}\n")
    with running(service, ServeOptions(keys=tmp_path / "keys")) as url:
        troubled.goto(url)
        troubled.locator("#key-form").wait_for()
        yield troubled


def use_key(page: "Page", key: str) -> None:
    page.get_by_label("Key", exact=True).fill(key)
    page.get_by_role("button", name="Use this key").click()


def test_a_server_with_keys_asks_for_one_and_takes_it(guarded: "Page") -> None:
    assert guarded.evaluate("document.activeElement.id") == "key"
    assert text(guarded, "#key-note") == "This server needs a key. Ask whoever started it."
    use_key(guarded, "wrong-key-of-a-caller")
    guarded.get_by_text("The server does not know this key.").wait_for()
    use_key(guarded, f" {KEY} ")
    guarded.locator("#index option").first.wait_for(state="attached")
    rank(guarded, QUERY, TEXTS)
    assert keys(guarded)[0] == 3
    assert guarded.locator("#key-form").is_hidden()
    card = hits(guarded)[0]
    opened(card).get_by_role("button", name="Which sentences").click()
    card.locator("[role=status] .kind", has_text="nothing to compare").wait_for()


def test_a_key_that_no_header_can_carry_is_refused_at_once(guarded: "Page") -> None:
    use_key(guarded, "schlüssel-mit-ümläuten")
    assert text(guarded, "#key-note").startswith("A key has letters, digits and signs of ASCII")
    assert guarded.evaluate("sessionStorage.length") == 0


def test_a_key_stays_in_this_tab_alone(guarded: "Page") -> None:
    use_key(guarded, KEY)
    guarded.locator("#key-used").wait_for()
    assert guarded.evaluate("[sessionStorage.length, localStorage.length, document.cookie]") == [
        1, 0, "",
    ]  # fmt: skip
    assert KEY not in guarded.content() and KEY not in guarded.url
    guarded.reload()
    guarded.locator("#key-used").wait_for()
    rank(guarded, QUERY, TEXTS)
    other = guarded.context.new_page()
    other.goto(guarded.url)
    other.locator("#key-form").wait_for()
    guarded.get_by_role("button", name="Forget it").click()
    guarded.locator("#key-form").wait_for()
    assert guarded.evaluate("sessionStorage.length") == 0


def test_code_to_copy_has_no_key(guarded: "Page") -> None:
    use_key(guarded, KEY)
    guarded.locator("#key-used").wait_for()
    rank(guarded, QUERY, TEXTS)
    for language in ("curl", "Python", "Python, cohere client"):
        guarded.get_by_label(language, exact=True).check()
        code = text(guarded, "#code")
        assert "RESIFT_KEY" in code and KEY not in code


@pytest.mark.parametrize("mode", ["rank", "search"])
def test_an_overloaded_server_says_when_to_try_again(
    served: "Page", service: "Service", monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    async def full(*args: Any, **options: Any) -> Any:
        raise Overloaded(500_000, 1.2)

    monkeypatch.setattr(service, mode, full)
    if mode == "search":
        served.get_by_label("Search an index").check()
    else:
        served.locator("#documents").fill("text")
    served.get_by_label("Query").fill(QUERY)
    served.keyboard.press("Enter")
    alert = served.get_by_role("alert")
    alert.get_by_text("The server is busy: try again in 2 s.").wait_for()
    assert served.locator("#results").is_hidden()
    alert.get_by_text("The server was busy. Try again now.").wait_for()


def test_a_wrong_filter_is_said_where_the_user_looks(served: "Page") -> None:
    served.get_by_label("Search an index").check()
    served.get_by_label("Query").fill(QUERY)
    served.get_by_label("Filter").fill("lang ~~ 'en'")
    served.keyboard.press("Enter")
    alert = served.get_by_role("alert")
    alert.get_by_text("where, character 6: expected").wait_for()
    served.get_by_label("Filter").fill("")
    served.keyboard.press("Enter")
    served.locator("#receipt").wait_for()
    assert text(served, "#problem") == ""


def test_an_error_about_a_field_marks_it(served: "Page") -> None:
    write(served, QUERY, [1, 2])
    served.keyboard.press("Control+Enter")
    served.locator("#problem:not(:empty)").wait_for()
    served.route("**/v1/rank", lambda route: route.fulfill(status=413, body=json.dumps(
        {"error": {"kind": "too_large", "message": "too many", "field": "documents"}}
    )))  # fmt: skip
    served.keyboard.press("Control+Enter")
    served.get_by_role("alert").get_by_text("too many").wait_for()
    assert served.locator("#documents").get_attribute("aria-invalid") == "true"


@pytest.mark.parametrize("body", ["<h1>proxy</h1>", '{"error": "Bad gateway"}', "null"])
def test_an_answer_that_is_none_of_the_servers_is_said_to(served: "Page", body: str) -> None:
    served.route("**/v1/rank", lambda route: route.fulfill(status=502, body=body))
    write(served, QUERY, TEXTS)
    served.keyboard.press("Control+Enter")
    said = served.get_by_role("alert").get_by_text("The server answered 502 without saying why.")
    said.wait_for()


def test_a_lost_server_is_said_to_be_lost(service: "Service", troubled: "Page") -> None:
    from serve.running import running

    with running(service) as url:
        troubled.goto(url)
        rank(troubled, QUERY, TEXTS)
        details = opened(hits(troubled)[0])
    details.get_by_role("button", name="Which sentences").click()
    lost = "The server does not answer: is `resift serve` still running?"
    details.get_by_text(lost).wait_for()
    troubled.get_by_role("button", name="Rank", exact=True).click()
    troubled.get_by_role("alert").get_by_text(lost).wait_for()
    assert troubled.locator("#results").is_hidden() and text(troubled, "#status") == ""


def test_a_stream_that_ends_before_the_ranking_is_said_to(served: "Page") -> None:
    body = 'event: first_stage\ndata: {"hits": [], "receipt": {}}\n\nevent: rank'
    served.route(
        "**/v1/search",
        lambda route: route.fulfill(body=body, headers={"content-type": "text/event-stream"}),
    )
    served.get_by_label("Search an index").check()
    served.get_by_label("Query").fill(QUERY)
    served.keyboard.press("Enter")
    served.get_by_role("alert").get_by_text("The connection ended before the answer").wait_for()


@pytest.mark.parametrize("mode", ["rank", "search"])
def test_a_new_request_replaces_the_one_before(served: "Page", held: Held, mode: str) -> None:
    write(served, "first", TEXTS)
    if mode == "search":
        served.get_by_label("Search an index").check()
    served.get_by_label("Query").press("Enter")
    waits_for(served, held.started, ["first"])
    served.get_by_label("Query").fill("vacation")
    served.get_by_label("Query").press("Enter")
    waits_for(served, held.cancelled, ["first"])
    served.get_by_text("in the order before. Reranking …").wait_for()
    assert served.locator("#results").is_visible()
    held.go.set()
    served.locator("#receipt").wait_for()
    assert held.started == ["first", "vacation"]
    assert '"query": "vacation"' in text(served, "#code")
    assert text(served, "#problem") == ""


def test_a_request_can_be_stopped(served: "Page", held: Held) -> None:
    write(served, QUERY, TEXTS)
    served.keyboard.press("Control+Enter")
    waits_for(served, held.started, [QUERY])
    served.get_by_role("button", name="Stop").click()
    served.get_by_text("Stopped.").wait_for()
    waits_for(served, held.cancelled, [QUERY])
    assert served.locator("#stop").is_hidden()
    assert served.evaluate("document.activeElement.id") == "send"


def waits_for(page: "Page", names: list[str], expected: list[str]) -> None:
    until = time.monotonic() + 20
    while names != expected:
        assert time.monotonic() < until, names
        page.wait_for_timeout(10)


def test_hostile_texts_are_text(served: "Page") -> None:
    documents = [
        {"id": f"{at} {text}", "title": text, "text": text, "metadata": text}
        for at, text in enumerate(HOSTILE)
    ]
    served.set_viewport_size({"width": 375, "height": 800})
    rank(served, HOSTILE[0], documents)
    for key, card in zip(keys(served), hits(served), strict=True):
        opened(card)
        assert card.evaluate(SHOWN) == ACTING.sub("\ufffd", HOSTILE[key])
        assert not ACTING.search(card.text_content() or "")
        assert set(card.evaluate(NAMES)) <= OURS
    assert served.title() == "resift: rank and search"
    assert served.locator("h1").count() == 1 and served.locator("img, style").count() == 0
    assert not served.evaluate("document.documentElement.scrollWidth > innerWidth")


ACTING = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
OURS = set("bdi button dd details div dl dt h3 mark p span summary".split())
NAMES = "card => [...card.querySelectorAll('*')].map(element => element.localName)"
SHOWN = """card => {
    const passage = card.querySelector(".passage").cloneNode(true);
    for (const label of passage.querySelectorAll(".label")) label.remove();
    return passage.textContent;
}"""


def test_the_policy_stops_what_gets_in_anyway(browser: "Browser", server: str) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(server)
        for attempt in ATTEMPTS:
            with page.expect_console_message(_is_refusal):
                page.evaluate(f"() => {{ try {{ {attempt} }} catch (error) {{ }} }}")
        assert page.title() == "resift: rank and search"
        assert page.evaluate("getComputedStyle(document.body).display") != "none"
        assert page.locator("b").count() == 0


ATTEMPTS = (
    "document.body.innerHTML = '<b>hit</b>'",
    "document.body.setAttribute('onclick', 'document.title = 1')",
    "document.body.append(Object.assign(document.createElement('script'), {text: 'title = 1'}))",
    "document.body.append(Object.assign(document.createElement('style'), "
    "{textContent: 'body { display: none }'}))",
    "new Image().src = 'http://127.0.0.2:9/pixel'",
    "fetch('http://127.0.0.2:9/texts').catch(() => 0)",
)


def _is_refusal(message: Any) -> bool:
    return "Content Security Policy" in message.text or "requires 'Trusted" in message.text

"""The server's page in use: by keyboard, on a phone, in the dark; pasted documents and code."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from browser.serving import QUERY, TEXTS, hits, keys, opened, rank, search, text
from browser.test_report_page import contrasts
from resift import Reranker

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from resift.serve.service import Service

ODD = ['it\'s "quoted" $HOME `id` \\n \\\\', "JSON", "tab\tand \u2028 and \u202e", "ключ 🙂 </pre>"]


@pytest.fixture
def served(server: str, page: "Page") -> "Page":
    """The page of the server, ready."""
    page.goto(server)
    page.locator("#index option").first.wait_for(state="attached")
    return page


def focused(page: "Page") -> str:
    return str(page.evaluate("(({id, textContent}) => id || textContent)(document.activeElement)"))


def tab_to(page: "Page", name: str) -> None:
    for _ in range(40):
        page.keyboard.press("Tab")
        if focused(page).startswith(name):
            return
    raise AssertionError(f"no way to {name} by Tab; at {focused(page)}")


def test_everything_can_be_done_by_keyboard(served: "Page") -> None:
    tab_to(served, "query")
    served.keyboard.type(QUERY)
    tab_to(served, "documents")
    served.keyboard.insert_text("\n".join(TEXTS))
    served.keyboard.press("Control+Enter")
    served.locator("#receipt").wait_for()
    tab_to(served, "4Choose")
    served.keyboard.press("Enter")
    assert served.evaluate("document.activeElement.dataset.key") == "3"
    tab_to(served, "Whole text, and why")
    served.keyboard.press("Enter")
    tab_to(served, "Which sentences")
    served.keyboard.press("Enter")
    served.get_by_text("There is nothing to compare").wait_for()
    tab_to(served, "code")
    served.keyboard.press("Shift+Tab")
    assert focused(served) == "copy"


def test_every_field_and_button_has_a_name(served: "Page") -> None:
    rank(served, QUERY, TEXTS)
    opened(hits(served)[0])
    nameless = served.evaluate("""() => [...document.querySelectorAll("input, select, textarea")]
        .filter(field => ![...field.labels].some(label => label.textContent.trim()))
        .map(field => field.id)""")
    assert nameless == []
    buttons = served.locator("button:visible, summary:visible").all_inner_texts()
    assert all(name.strip() for name in buttons)
    levels = served.evaluate("""() => [...document.querySelectorAll("h1, h2, h3, h4, h5, h6")]
        .map(heading => Number(heading.localName[1]))""")
    assert levels[0] == 1 and all(after - before <= 1 for before, after in pairwise(levels))


def test_what_happens_is_announced(served: "Page") -> None:
    served.evaluate("""() => {
        window.said = [];
        const note = ([{target}]) => said.push(target.closest("[role]").textContent);
        for (const id of ["status", "problem"]) {
            new MutationObserver(note).observe(document.getElementById(id), {childList: true});
        }
    }""")
    rank(served, QUERY, TEXTS)
    said = served.evaluate("window.said")
    assert [line.split(" in ")[0] for line in said if line][-2:] == ["4 hits", "4 hits"]
    assert said[-2] == "4 hits in the order before. Reranking …" and said[-1].endswith(" moved.")
    roles = served.locator("[role=status], [role=alert]").evaluate_all("all => all.map(e => e.id)")
    assert {"status", "problem", "server"} <= set(roles)


@pytest.fixture(params=["light", "dark"])
def phone(request: pytest.FixtureRequest, browser: "Browser", server: str) -> Iterator["Page"]:
    """The page on a phone, by day and by night."""
    size: Any = {"width": 320, "height": 640}
    with browser.new_context(viewport=size, color_scheme=request.param) as context:
        page = context.new_page()
        page.goto(server)
        page.locator("#index option").first.wait_for(state="attached")
        yield page


def test_it_can_be_read_on_a_phone_by_day_and_night(phone: "Page") -> None:
    wide = "document.documentElement.scrollWidth > innerWidth"
    assert not phone.evaluate(wide)
    longest = f"{'word ' * 900}{'https://' + 'x' * 300}"
    rank(phone, QUERY, [{"id": "i" * 200, "text": f"{TEXTS[1]} {TEXTS[3]}"}, longest, ""])
    details = opened(hits(phone)[0])
    details.get_by_role("button", name="Which sentences").click()
    details.locator("mark.strong").first.wait_for()
    phone.get_by_text("The order before").click()
    assert not phone.evaluate(wide)
    assert len(contrasts(phone)) > 40
    for contrast, words in contrasts(phone):
        assert contrast >= 4.5, words
    search(phone, "vacation")
    assert not phone.evaluate(wide)


@pytest.mark.parametrize(
    ("pasted", "documents", "note"),
    [
        ("one\n\n two \r\nthree", ["one", " two ", "three"], "3 documents, one a line"),
        ('["one", {"text": "two"}]', ["one", {"text": "two"}], "2 documents, from JSON"),
        (' {"id": "a", "text": "one"} ', [{"id": "a", "text": "one"}], "1 document, from JSON"),
        ('{"query": "q", "documents": ["a"]}', ["a"], "1 document, from JSON"),
        ('{"text": "a"}\n\n{"text": "b"}\n', [{"text": "a"}, {"text": "b"}],
         "2 documents, from JSON lines"),
        ("[1] A note\n[2] Another", ["[1] A note", "[2] Another"],
         "2 documents, one a line; not read as JSON: "),
        ('[{"text": "a"},]', ['[{"text": "a"},]'], "1 document, one a line; not read as JSON: "),
        ('{"documents": 5}', ['{"documents": 5}'], "1 document, one a line"),
        (" \n ", [], ""),
    ],
)  # fmt: skip
def test_pasted_documents_are_taken_as_what_they_are(
    served: "Page", pasted: str, documents: list[Any], note: str
) -> None:
    taken = served.evaluate(
        "async text => (await import('/page/documents.js')).parsed(text)", pasted
    )
    assert taken["documents"] == documents
    assert taken["note"].startswith(note) and (note or not taken["note"])
    served.locator("#documents").fill(pasted)
    served.wait_for_function(
        "note => document.querySelector('#count').textContent === note", arg=taken["note"]
    )


def test_offsets_in_code_points_are_offsets_in_units(served: "Page") -> None:
    for sample in ("", "plain", "a🙂b", "🙂🙃", "é\u0301🏳️‍🌈x"):
        points = list(range(len(sample) + 1))
        units = [len(sample[:point].encode("utf-16-le")) // 2 for point in points]
        module = "await import('/page/text.js')"
        count = served.evaluate(f"async text => ({module}).codePoints(text)", sample)
        assert count == len(sample)
        assert (
            served.evaluate(f"async ([t, at]) => ({module}).unitOffsets(t, at)", [sample, points])
            == units
        )


def test_of_a_huge_text_a_part_is_shown(served: "Page") -> None:
    huge = "🙂 " + "x" * 1_000_000 + " שלום " * 50_000
    rank(served, QUERY, [{"id": "huge", "title": huge, "text": huge}])
    shown = text(opened(hits(served)[0]), ".passage")
    assert 100_000 < len(shown) < 100_200 and shown.endswith(" characters not shown … ")
    assert len(text(hits(served)[0], "h3")) < 250


def code(page: "Page", language: str) -> str:
    page.get_by_label(language, exact=True).check()
    return text(page, "#code")


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl here")
def test_the_curl_command_sends_the_same_request(served: "Page") -> None:
    for mode in ("rank", "search"):
        if mode == "rank":
            rank(served, ODD[0], [*ODD, {"id": "a'b", "text": "six", "title": None}])
        else:
            search(served, 'who\'s "$USER"')
        command = code(served, "curl")
        assert "\u202e" not in command and "\u2028" not in command
        answer = ran("bash", "-c", command.replace("curl ", "curl -sS ", 1))
        if mode == "search":
            assert answer.startswith("event: first_stage")
            answer = answer.rpartition("data: ")[2]
        assert [hit["index"] for hit in json.loads(answer)["hits"]] == keys(served)


def test_the_python_program_sends_the_same_request(served: "Page") -> None:
    rank(served, ODD[0], [*ODD, {"id": "7", "text": "six", "metadata": {"a": [True, None, {}]}}])
    lines = ran(sys.executable, "-c", code(served, "Python")).splitlines()
    ids = [line.rpartition(" ")[2] for line in lines]
    assert ids == [str(key) if key < 4 else "7" for key in keys(served)]
    search(served, "vacation")
    lines = ran(sys.executable, "-c", code(served, "Python")).splitlines()
    assert len(lines) == len(hits(served))


def test_the_cohere_program_sends_the_same_texts(served: "Page") -> None:
    pytest.importorskip("cohere")
    rank(served, ODD[0], [*ODD, {"id": "7", "text": "six"}])
    lines = ran(sys.executable, "-c", code(served, "Python, cohere client")).splitlines()
    assert [int(line.split()[0]) for line in lines] == keys(served)


def ran(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def test_code_is_copied_whole(served: "Page") -> None:
    served.context.grant_permissions(["clipboard-read", "clipboard-write"])
    rank(served, QUERY, ["word " * 8000])
    served.get_by_role("button", name="Copy").click()
    served.get_by_text("Copied.").wait_for()
    copied = served.evaluate("navigator.clipboard.readText()")
    assert len(copied) > 40_000 and copied.endswith("\nJSON\n")
    assert "more characters" in text(served, "#code") and len(text(served, "#code")) < 21_000


def test_the_receipt_is_said_in_words(served: "Page", service: "Service") -> None:
    search(served, "who approves vacation")
    receipt = service.index().search("who approves vacation").receipt
    lines = served.locator("#receipt dd").all_text_contents()
    assert lines[0] == f"{receipt.model} on {receipt.runtime}, fingerprint {receipt.fingerprint}"
    assert "ms in all" in lines[1] and "find by words" in lines[1] and "score" in lines[1]
    assert lines[2].startswith("7 of 7 candidates scored, ")
    assert "First-stage scores count with weight 0.3." in lines[3]
    assert lines[4].startswith("Scores are probabilities of relevance")
    assert lines[5] == "version 1"
    widths = served.locator(".stages span").evaluate_all("all => all.map(e => e.offsetWidth)")
    assert sum(widths) > 200 and min(widths) >= 1


def test_pickers_have_what_the_server_has(served: "Page") -> None:
    assert served.locator("#model option").all_text_contents() == ["bundled", "second"]
    assert served.locator("#index option").all_text_contents() == ["handbook, 7 passages"]
    assert served.locator("#no-index").is_hidden()


def test_a_server_without_an_index_ranks_texts(in_one_runtime: Reranker, page: "Page") -> None:
    from resift.serve.admission import Admission
    from resift.serve.service import Service
    from serve.running import running

    with running(Service({"bundled": in_one_runtime}, {}, Admission())) as url:
        page.goto(url)
        page.get_by_text("No index here: start with resift serve --index URI").wait_for()
        assert page.get_by_label("Search an index").is_disabled()
        rank(page, QUERY, TEXTS)


def test_an_index_that_is_not_open_yet_is_waited_for(served: "Page") -> None:
    responses = [{"ready": False, "models": ["bundled"], "waiting_for": ["handbook"]}]
    served.route("**/ready", lambda route: (
        route.fulfill(json=responses.pop()) if responses else route.continue_()
    ))  # fmt: skip
    served.reload()
    served.get_by_text("Not open yet: handbook").wait_for()
    served.get_by_text("Not open yet: handbook").wait_for(state="hidden")

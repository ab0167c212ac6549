"""The page in a browser: a key a judgment, texts as text, readable in the dark."""

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from resift.cli.judge_page import JudgeServer
from resift.evaluation.judging import JudgingSession
from resift.evaluation.judgments import Judgments
from resift.evaluation.pool import Pool
from resift.evaluation.trec import read_qrels
from resift.types import Document

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

QUERIES = {"q1": "bold <i>words</i>", "q2": "second"}
HOSTILE = "<img src=x onerror=alert(1)><script>document.title = 'hit'</script>\n\nbold &amp; more"
POOLS = {
    "q1": Pool(
        (Document("d1", HOSTILE, "A <b>bold</b> title"), Document("d2", "two")), ("a <b>gap</b>",)
    ),
    "q2": Pool((Document("d3", "three"),)),
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "qrels.tsv"


@pytest.fixture
def server(file: Path) -> Iterator[JudgeServer]:
    with JudgeServer(JudgingSession(QUERIES, POOLS.__getitem__, Judgments(file)), 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def judge(server: JudgeServer, page: "Page") -> "Page":
    """The page, open on the first candidate."""
    page.goto(server.url)
    shows(page, "d1")
    return page


def shows(page: "Page", doc_id: str) -> None:
    page.locator(f"body[aria-busy=false] #id:text-is('{doc_id}')").wait_for()


def text(page: "Page", selector: str) -> str:
    return page.locator(selector).text_content() or ""


def test_a_key_for_each_grade(judge: "Page", file: Path) -> None:
    assert text(judge, "#progress").startswith("query 1 of 2 · candidate 1 of 2 · 0 judged now")
    for key, following in (("2", "d2"), ("0", "d3")):
        judge.keyboard.press(key)
        shows(judge, following)
    assert read_qrels(file) == {"q1": {"d1": 2, "d2": 0}}
    judge.keyboard.press("Backspace")
    shows(judge, "d2")
    assert "took back: 0 not relevant" in text(judge, "#progress")
    judge.keyboard.press("1")
    shows(judge, "d3")
    judge.keyboard.press("1")
    judge.get_by_text("Nothing is left to judge. 3 judged now.").wait_for()
    assert read_qrels(file) == {"q1": {"d1": 2, "d2": 1}, "q2": {"d3": 1}}
    judge.keyboard.press("b")
    shows(judge, "d3")


def test_buttons_do_what_keys_do(judge: "Page", file: Path) -> None:
    assert [" ".join(text.split()) for text in judge.locator("nav button").all_inner_texts()] == [
        "0 not relevant", "1 partly", "2 answers it", "b back", "s skip", "n next query", "q quit",
    ]  # fmt: skip
    judge.get_by_role("button", name="answers it").click()
    shows(judge, "d2")
    judge.get_by_role("button", name="next query").click()
    shows(judge, "d3")
    assert read_qrels(file) == {"q1": {"d1": 2}}


def test_keys_that_mean_nothing_here_do_nothing(judge: "Page", file: Path) -> None:
    for key in ("3", "9", "x", "Enter", "Control+2", "Alt+1", "F2"):
        judge.keyboard.press(key)
    judge.keyboard.press("s")
    shows(judge, "d2")
    assert not file.exists()


def test_a_key_held_down_judges_one_candidate(judge: "Page", file: Path) -> None:
    judge.keyboard.down("1")
    shows(judge, "d2")
    for _ in range(3):
        judge.keyboard.down("1")  # again, without an up: what a keyboard repeats
    judge.keyboard.up("1")
    judge.keyboard.press("s")
    shows(judge, "d3")
    assert read_qrels(file) == {"q1": {"d1": 1}}


def test_keys_pressed_before_the_answer_is_there_are_dropped(judge: "Page", file: Path) -> None:
    held: list[Any] = []
    judge.route("**/press", lambda route: held.append(route))
    judge.keyboard.press("1")
    judge.keyboard.press("2")
    judge.wait_for_timeout(100)
    for route in held:
        route.continue_()
    shows(judge, "d2")
    assert len(held) == 1 and read_qrels(file) == {"q1": {"d1": 1}}


def test_texts_are_text_and_the_querys_words_are_marked(judge: "Page") -> None:
    assert text(judge, "#text") == HOSTILE
    assert text(judge, "#title") == "A <b>bold</b> title"
    assert text(judge, "#query") == QUERIES["q1"]
    assert judge.locator("#text *").evaluate_all("all => all.map(node => node.tagName)") == ["MARK"]
    assert judge.locator("mark").all_inner_texts() == ["bold", "bold"]
    assert text(judge, "#problems") == "a <b>gap</b>"
    assert judge.title() == "resift judge"
    judge.keyboard.press("s")
    shows(judge, "d2")
    assert text(judge, "#problems") == "a <b>gap</b>"


def test_the_policy_stops_what_gets_in_anyway(browser: "Browser", server: JudgeServer) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(server.url)
        shows(page, "d1")
        with page.expect_console_message(_is_refusal):
            page.evaluate("""() => {
                const script = document.createElement("script");
                script.textContent = "document.title = 'hit'";
                document.body.append(script);
            }""")
        assert page.title() == "resift judge"


def _is_refusal(message: Any) -> bool:
    return "Content Security Policy" in message.text


def test_a_second_window_shows_the_current_candidate(
    judge: "Page", server: JudgeServer, file: Path
) -> None:
    other = judge.context.new_page()
    other.goto(server.url)
    shows(other, "d1")
    judge.keyboard.press("2")
    shows(judge, "d2")
    other.keyboard.press("0")
    shows(other, "d2")
    assert read_qrels(file) == {"q1": {"d1": 2}}


def test_quitting_ends_the_server_and_says_so(judge: "Page", server: JudgeServer) -> None:
    judge.keyboard.press("1")
    shows(judge, "d2")
    judge.keyboard.press("q")
    judge.get_by_text("1 judged, all of it saved. You may close this page.").wait_for()
    assert judge.locator("button").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read_by_day_and_night(
    browser: "Browser", server: JudgeServer, scheme: Any
) -> None:
    with browser.new_context(color_scheme=scheme) as context:
        page = context.new_page()
        page.goto(server.url)
        shows(page, "d1")
        for selector in ("body", "#progress", "#text mark", "nav button"):
            ink, paper = page.locator(selector).first.evaluate(COLOURS)
            assert contrast(ink, paper) >= 4.5, (selector, ink, paper)
            is_dark = luminance(paper) < luminance(ink)
            assert is_dark == (scheme == "dark")


COLOURS = """node => {
    const ink = getComputedStyle(node).color;
    const paper = (element) => getComputedStyle(element).backgroundColor;
    let below = node;
    while (paper(below) === "rgba(0, 0, 0, 0)") below = below.parentElement;
    return [ink, paper(below)];
}"""


def contrast(ink: str, paper: str) -> float:
    """By WCAG 2: from 1 to 21."""
    light, dark = sorted((luminance(ink), luminance(paper)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    red, green, blue = (linear(int(part) / 255) for part in re.findall(r"\d+", colour)[:3])
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def linear(part: float) -> float:
    return float(part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4)

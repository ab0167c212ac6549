"""The server's page in a browser: how hits move, what was read of them, and why."""

import json
from typing import TYPE_CHECKING

import pytest

from browser.conftest import Held
from browser.serving import (
    QUERY,
    TEXTS,
    hits,
    keys,
    opened,
    rank,
    search,
    text,
    write,
)
from resift import Reranker
from resift.types import Ranking

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from resift.serve.service import Service

LONG = "A line of the log with its time and its caller, who sent it. " * 100
EMOJI = "🙂🙃 "


@pytest.fixture
def served(server: str, page: "Page") -> "Page":
    """The page of the server, ready."""
    page.goto(server)
    page.locator("#model option").first.wait_for(state="attached")
    page.locator("#index option").first.wait_for(state="attached")
    return page


def expected(reranker: Reranker, documents: list[object], **options: object) -> Ranking:
    return reranker.rank(QUERY, documents, **options)  # type: ignore[arg-type]


def test_hits_are_in_the_models_order_and_say_where_they_were(
    served: "Page", in_one_runtime: Reranker
) -> None:
    rank(served, QUERY, TEXTS)
    ranking = expected(in_one_runtime, [*TEXTS])
    assert keys(served) == [hit.index for hit in ranking]
    assert ranking[0].index == 3, "the test shows no move"
    for card, hit in zip(hits(served), ranking, strict=True):
        before, after = hit.first_stage_rank, hit.rank
        said = text(card, ".move .sr") if before != after else text(card, ".move")
        way = "up" if before > after else "down"
        same = f"stays {after}"
        assert said == (same if before == after else f"moved {way} from rank {before} to {after}")
        assert text(card, "span.rank") == str(hit.rank)
        assert hit.score is not None
        shown = f"{hit.score:.3f}" if hit.score >= 0.0005 else "<0.001"
        assert text(card, ".score") == f"score {shown}"
    assert text(served, "#status").startswith("4 hits in ")


def test_the_order_before_is_beside_it_and_leads_to_each_hit(served: "Page") -> None:
    rank(served, QUERY, TEXTS)
    lines = served.locator("#before li")
    assert lines.locator(".label").all_text_contents() == TEXTS
    order = keys(served)
    assert lines.locator(":text('→')").all_text_contents() == [
        f"→ {1 + order.index(key)}" for key in range(4)
    ]
    lines.nth(3).get_by_role("button").click()
    assert served.evaluate("document.activeElement.dataset.key") == "3"


def test_hits_that_left_the_first_are_named(served: "Page") -> None:
    served.get_by_label("Top n").fill("1")
    rank(served, QUERY, TEXTS)
    assert keys(served) == [3]
    assert served.locator("#before li .kind").all_text_contents() == ["below 1"] * 3


def test_each_status_is_said_in_words_with_its_tokens(
    served: "Page", in_one_runtime: Reranker
) -> None:
    documents: list[object] = [LONG, "", {"title": "none"}, "🙂", TEXTS[3]]
    rank(served, QUERY, documents)
    ranking = {hit.index: hit for hit in expected(in_one_runtime, documents)}
    said = {key: text(card, ".about") for key, card in zip(keys(served), hits(served), strict=True)}
    cut, whole = ranking[0], ranking[4]
    assert cut.tokens_dropped > 1000
    assert f"cut: {cut.tokens_seen} tokens read, {cut.tokens_dropped:,} dropped" in said[0]
    assert said[1] == said[3] == "empty: no text, or no word that the model knows"
    assert said[2] == "not a text, so not read"
    assert said[4] == f"read whole, {whole.tokens_seen} tokens"
    remarks = served.locator("#remarks li").all_text_contents()
    assert remarks == [
        "Cut: 1 of 5 documents, longer than the model reads.",
        "Not read: 3 of 5 documents, without a text for the model.",
        "Unknown: 1 of 5 documents, over half of whose words the model does not know.",
    ]


def test_late_hits_and_the_reason_are_said(served: "Page") -> None:
    served.get_by_label("Budget, ms").fill("1")
    rank(served, QUERY, [f"{at} {LONG}" for at in range(200)])
    assert text(served, "#remarks").startswith("Partial: ")
    assert served.get_by_text("late: the deadline passed before its turn").count() > 0


def test_what_was_not_read_is_marked_as_such(served: "Page", in_one_runtime: Reranker) -> None:
    document = EMOJI * 3 + LONG + TEXTS[3]
    (hit,) = expected(in_one_runtime, [document])
    rank(served, QUERY, [document])
    assert "Reset password" not in text(served, ".excerpt")
    details = opened(hits(served)[0])
    assert text(details, ".outside") == document[hit.span[1] :]
    assert (
        text(details, ".passage .label")
        == f"[not read: {len(document) - hit.span[1]:,} characters] "
    )


def test_the_best_window_of_a_long_document_is_marked(
    served: "Page", in_one_runtime: Reranker
) -> None:
    document = EMOJI + LONG + TEXTS[3] + LONG
    (hit,) = expected(in_one_runtime, [document], long_documents="windows")
    served.get_by_label("Long documents").select_option("windows")
    rank(served, QUERY, [document])
    card = hits(served)[0]
    assert f"long: {hit.tokens_seen} tokens read in {hit.windows} windows, " in text(card, ".about")
    assert text(card, ".excerpt").startswith("… ") and "Reset password" in text(card, ".excerpt")
    passage = opened(card).locator(".passage")
    outside = passage.locator(".outside").all_text_contents()
    assert outside == [document[: hit.span[0]], document[hit.span[1] :]]
    assert text(passage, ".label >> nth=0").startswith("[not in the best window: ")
    top, start, end = passage.evaluate("""block => [block, block.querySelector(".start"), block]
        .map((node, at) => node.getBoundingClientRect()[at < 2 ? "top" : "bottom"])""")
    assert top < start < end, "the best window cannot be seen"


def test_an_explanation_colours_the_sentences_that_moved_the_score(
    served: "Page", in_one_runtime: Reranker
) -> None:
    document = {"id": "a", "title": "Accounts", "text": f"{EMOJI}{TEXTS[1]} {TEXTS[3]} Bye."}
    rank(served, QUERY, [document])
    details = opened(hits(served)[0])
    details.get_by_role("button", name="Which sentences").click()
    details.locator(".passage mark").first.wait_for()
    explanation = in_one_runtime.explain(QUERY, document)
    effects = {part.text.strip(): part.effect or 0 for part in explanation.parts}
    most = max(abs(effect) for effect in effects.values())
    in_text = [part for part in explanation.parts if part.where == "text"]
    moving = [part for part in in_text if abs(part.effect or 0) >= 0.15 * most]
    marks = details.locator(".passage mark")
    assert marks.count() == len(moving) >= 1
    for mark, part in zip(marks.all(), moving, strict=True):
        effect = part.effect or 0
        sign = "−" if effect < 0 else "+"
        assert mark.text_content() == f"{part.text.strip()}{sign}{abs(effect):.2f}"
        kind, *strong = (mark.get_attribute("class") or "").split()
        assert kind == ("supports" if effect > 0 else "opposes")
        assert (strong == ["strong"]) == (abs(effect) >= 0.5 * most)
    assert f"The title: +{effects['Accounts']:.2f}" in text(details, "[role=status] .kind")


def test_the_first_stage_is_there_before_the_ranking_and_hits_move(
    served: "Page", held: Held, service: "Service"
) -> None:
    query = "who approves vacation for a sick password reset"
    served.get_by_label("Search an index").check()
    served.get_by_label("Query").fill(query)
    served.keyboard.press("Enter")
    served.get_by_text("7 hits in the order before. Reranking …").wait_for()
    assert keys(served) == [0, 1, 2, 3, 4, 5, 6]
    assert served.locator(".score").count() == 0
    assert served.locator("#results").get_attribute("aria-busy") == "true"
    key = keys(served)[6]
    opened(hits(served)[6])
    served.evaluate(
        "() => { window.moves = 0; Element.prototype.animate = () => { moves += 1; }; }"
    )
    held.go.set()
    served.locator("#receipt").wait_for()
    ranking = service.index().search(query)
    assert keys(served) == [hit.index for hit in ranking] != [0, 1, 2, 3, 4, 5, 6]
    assert served.evaluate("window.moves") > 0
    assert served.locator(f"[data-key='{key}'] details[open]").count() == 1
    assert served.evaluate("document.activeElement.closest('.hit').dataset.key") == str(key)
    assert served.locator("#results").get_attribute("aria-busy") == "false"


def test_nothing_moves_where_motion_is_not_wanted(served: "Page", held: Held) -> None:
    served.emulate_media(reduced_motion="reduce")
    write(served, QUERY, TEXTS)
    served.keyboard.press("Control+Enter")
    served.get_by_text("4 hits in the order before").wait_for()
    served.evaluate(
        "() => { window.moves = 0; Element.prototype.animate = () => { moves += 1; }; }"
    )
    held.go.set()
    served.locator("#receipt").wait_for()
    assert served.evaluate("window.moves") == 0 and keys(served)[0] == 3


def test_a_search_says_where_a_passage_is_from(served: "Page", service: "Service") -> None:
    search(served, "who approves vacation")
    first = hits(served)[0]
    assert text(first, "h3") == "Vacation"
    assert text(first, ".about bdi") == "vacation.md · Approval"
    hit = service.index().search("who approves vacation")[0]
    details = opened(first)
    assert text(details, ".passage") == hit.text
    assert hit.citation is not None
    facts = details.locator("dd").all_text_contents()
    assert facts[:2] == [hit.id, hit.citation.uri]
    assert "“Approval”" in facts[2]


def test_a_passage_that_has_gone_or_changed_since_is_said_to(
    served: "Page", service: "Service", monkeypatch: pytest.MonkeyPatch
) -> None:
    passages = [service.index().passage(service.index().search("vacation")[1].id)]

    async def passage(passage_id: str, index: str | None = None, **_: int) -> object:
        return passages[0]

    monkeypatch.setattr(service, "passage", passage)
    search(served, "vacation")
    opened(hits(served)[0]).get_by_text("The index has another text for it by now.").wait_for()


def test_without_reranking_there_are_no_moves_and_no_reasons(served: "Page") -> None:
    served.get_by_label("Search an index").check()
    served.get_by_label("Rerank").uncheck()
    assert served.get_by_label("Depth").is_disabled()
    search(served, "vacation")
    assert served.locator(".move, .score").all_text_contents() == [""] * len(hits(served))
    assert served.locator("#before-box").is_hidden()
    assert text(hits(served)[0], ".about .chip") == "not reranked"
    assert opened(hits(served)[0]).get_by_role("button").count() == 0
    assert "this is the order of the first stage" in text(served, "#receipt")


def test_options_go_into_the_request(served: "Page") -> None:
    asked: list[object] = []
    served.on("request", lambda sent: asked.append(sent.post_data and json.loads(sent.post_data)))
    served.get_by_label("Model").select_option("second")
    for label, value in (("Top n", "2"), ("Budget, ms", "5000")):
        served.get_by_label(label).fill(value)
    served.get_by_label("Long documents").select_option("windows")
    rank(served, QUERY, TEXTS[:3])
    assert asked == [
        {"query": QUERY, "documents": TEXTS[:3], "model": "second", "top_n": 2, "budget_ms": 5000,
         "long_documents": "windows"},
    ]  # fmt: skip
    asked.clear()
    served.get_by_label("Search an index").check()
    served.get_by_label("Depth").fill("5")
    served.get_by_label("Find by").select_option("lexical")
    served.get_by_label("Filter").fill("doc_id starts with 'v'")
    search(served, "vacation")
    assert asked == [
        {"query": "vacation", "index": "handbook", "top_n": 2, "depth": 5, "mode": "lexical",
         "where": "doc_id starts with 'v'", "budget_ms": 5000, "stream": True},
    ]  # fmt: skip


def test_every_example_moves_its_answer_up_to_the_first_place(served: "Page") -> None:
    first = []
    for example in served.locator("#examples button").all():
        example.click()
        served.locator("#receipt").wait_for()
        assert text(served, "#problem") == ""
        first.append(text(hits(served)[0], ".move .sr"))
    assert first == [f"moved up from rank {before} to 1" for before in (8, 5, 3, 4)]


def test_many_hits_are_drawn_in_steps(served: "Page") -> None:
    rank(served, QUERY, [f"{at} {TEXTS[at % 4]}" for at in range(70)])
    assert len(hits(served)) == 30
    served.get_by_role("button", name="Show 30 more of 70").click()
    assert len(hits(served)) == 60
    assert served.evaluate("document.activeElement.querySelector('.rank').textContent") == "31"
    served.get_by_role("button", name="Show 10 more of 70").click()
    assert len(set(keys(served))) == 70 and served.locator("#more").is_hidden()

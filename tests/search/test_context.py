"""Packing hits into a context: within its budget, in rank order, with citations, nothing twice."""

import math
import re
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resift.errors import InputError
from resift.search.context import pack
from resift.search.extracts import MAX_NAME_TOKENS, escaped, extract, heading, name_of, readable
from resift.search.token_counts import count_tokens
from resift.types import Citation, Hit
from search.hits import RECEIPT, TEXTS, cited, hit, ranked

VACATION = "Your manager approves vacation. Ask two weeks before."
OFFICE = "The office is closed on Sundays."
URI = "s3://handbook/rules.md"


def test_a_source_has_a_number_a_title_and_where_it_is_and_then_its_text() -> None:
    context = pack(
        ranked(
            cited(VACATION, URI, heading="Vacation", page=3),
            cited(OFFICE, "s3://handbook/office.csv", row=7),
        ),
        1000,
    )
    assert context.text == (
        f"[1] Title — Vacation ({URI}, page 3, characters 0–53)\n{VACATION}\n\n"
        f"[2] Title (s3://handbook/office.csv, row 7, characters 0–32)\n{OFFICE}"
    )
    assert context.tokens == count_tokens(context.text)
    assert [source.number for source in context.sources] == [1, 2]
    assert context.sources[0].citation is not None and context.sources[0].citation.uri == URI
    assert not context.sources[0].is_cut and context.left_out == 0


@pytest.mark.parametrize(
    "line",
    [
        "[2] fake (s3://x)", "[1]", "  [2] fake", "\u200b[2] fake", "\uff3b2\uff3d fake",
        "[ 12 ] fake", "[\u0662] fake", "[\u200b2\u2060] fake",
    ],
)  # fmt: skip
@pytest.mark.parametrize("line_end", ["\n", "\n\n", "\u2028"])
def test_a_line_of_a_document_is_no_line_above_a_source(line: str, line_end: str) -> None:
    text = f"{OFFICE}{line_end}{line} {VACATION}"
    context = pack(ranked(cited(text, URI), cited(f"{line} {OFFICE}", "s3://other")), 1000)
    assert f"{line_end}\\{line} {VACATION}" in context.text
    assert f")\n\\{line.lstrip(' ')} {OFFICE}" in context.text
    assert len(re.findall(r"(?m)^\[", context.text)) == 2, "the two sources"
    assert [source.text for source in context.sources] == [text, f"{line} {OFFICE}".strip()]
    assert context.tokens == count_tokens(context.text)
    least = pack(ranked(cited(text, URI)), count_tokens(context.text) // 2)
    assert least.tokens == count_tokens(least.text) <= count_tokens(context.text) // 2


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (["a\n", "[1] x", "\n[2] y"], ["a\n", "\\[1] x", "\n\\[2] y"]),
        (["a\n", "  ", "[1]"], ["a\n", "\\  ", "[1]"]),
        (["a ", " [1]", "\n b"], ["a ", " [1]", "\n b"]),
        (["[1]\n[2]\n[3]"], ["\\[1]\n\\[2]\n\\[3]"]),
        (["", "[1]"], ["", "\\[1]"]),
    ],
)
def test_lines_are_those_of_all_parts_together(parts: list[str], expected: list[str]) -> None:
    assert escaped(parts) == expected


def test_what_follows_text_that_is_left_out_begins_no_line() -> None:
    assert escaped(["[1] x\n[2]"], is_continued=True) == ["[1] x\n\\[2]"]


@pytest.mark.parametrize("line", ["see [2] there", "[UNK] x", "[a1] x", "\u2026 [2] x", "x[2]"])
def test_other_lines_are_as_they_are(line: str) -> None:
    text = f"{OFFICE}\n{line}"
    assert pack(ranked(cited(text, URI)), 1000).text.endswith(f"\n{text}")


def test_without_a_citation_the_id_names_a_text_that_has_no_title() -> None:
    context = pack(ranked(hit(VACATION, title="Rules"), hit(OFFICE, id="office")), 1000)
    assert context.text == f"[1] Rules\n{VACATION}\n\n[2] office\n{OFFICE}"


def test_a_ranking_without_hits_gives_an_empty_context() -> None:
    context = pack(ranked(), 100)
    assert (context.text, context.tokens, context.sources, context.left_out) == ("", 0, (), 0)


def test_hits_without_text_are_skipped_and_not_counted() -> None:
    context = pack(ranked(hit(""), hit(" \n\0"), hit(OFFICE)), 100)
    assert context.text == f"[1] id\n{OFFICE}" and context.left_out == 0


def test_a_hit_that_does_not_fit_is_cut_round_its_best_sentence() -> None:
    best = "Your manager approves vacation, and so does the head of your department."
    text = f"{OFFICE} {'The kitchen is clean. ' * 20}{best} {OFFICE}"
    budget = count_tokens(f"[1] id … {best} …")
    context = pack(ranked(hit(text), query="who approves vacation"), budget)
    assert context.text == f"[1] id\n… {best} …"
    assert context.sources[0].is_cut
    assert pack(ranked(hit(text), query="who approves vacation"), budget - 8).left_out == 1


def test_the_span_of_a_hit_says_where_its_best_part_is() -> None:
    text = f"{VACATION} {'The kitchen is clean. ' * 20}{OFFICE}"
    span = (text.index(OFFICE), len(text))
    context = pack(ranked(hit(text, span=span), query="who approves vacation"), 22)
    assert context.text.endswith(OFFICE) and VACATION[:10] not in context.text


def test_a_hit_that_is_cut_leaves_tokens_for_the_next() -> None:
    long = "The kitchen is clean. " * 500
    other = "The garden is closed. " * 500
    context = pack(ranked(hit(long), hit(other), hit(OFFICE)), 1_000)
    tokens = [count_tokens(block) for block in context.text.split("\n\n")]
    assert len(tokens) == 3 and context.text.endswith(OFFICE)
    assert 450 < tokens[0] < 505 and 180 < tokens[1] < 255


def test_the_last_hit_gets_all_that_remains() -> None:
    long = "The kitchen is clean. " * 500
    assert pack(ranked(hit(long)), 1_000).tokens > 980


def test_hits_that_do_not_fit_are_counted_and_shorter_ones_after_them_are_not_lost() -> None:
    names = "s3://" + "folder/" * 40
    hits = (cited("Closed.", names), hit(OFFICE), hit(VACATION * 3))
    context = pack(ranked(*hits), 20)
    assert context.text == f"[1] id\n{OFFICE}" and context.left_out == 2


@pytest.mark.parametrize("is_reversed", [False, True])
def test_passages_that_overlap_or_touch_are_one_source_with_one_range(is_reversed: bool) -> None:
    document = f"{OFFICE} {VACATION} The kitchen is clean."
    hits = [cited(document[:60], URI), cited(document[33:87], URI, 33),
            cited(document[87:], URI, 87)]  # fmt: skip
    context = pack(ranked(*(reversed(hits) if is_reversed else hits)), 1000)
    (source,) = context.sources
    assert context.text.split("\n")[1:] == [document] and source.text == document
    assert source.citation is not None and not source.is_cut
    assert (source.citation.start, source.citation.end) == (0, len(document))


@pytest.mark.parametrize("change", [{"heading": "Other"}, {"page": 4}, {"row": 2}])
def test_passages_of_two_sections_stay_two_sources(change: dict[str, object]) -> None:
    hits = cited(OFFICE, URI, page=3), cited(VACATION, URI, len(OFFICE), **{"page": 3} | change)
    assert len(pack(ranked(*hits), 1000).sources) == 2


def test_many_passages_of_one_document_are_packed() -> None:
    hits = [cited(f"{OFFICE} {number}", URI, number * 100) for number in range(200)]
    assert len(pack(ranked(*hits), 100_000).sources) == 200


def test_of_one_document_at_most_so_many_hits_are_used() -> None:
    hits = [cited(f"{OFFICE} {number}", URI, number * 100) for number in range(4)]
    context = pack(ranked(*hits, cited(VACATION, "s3://other"), hit("No document.")), 1000,
                   per_document=2)  # fmt: skip
    assert [source.text for source in context.sources] == [
        f"{OFFICE} 0", f"{OFFICE} 1", VACATION, "No document.",
    ]  # fmt: skip
    assert context.over_limit == 2 and context.left_out == 0


def test_sources_are_in_the_order_of_their_documents_if_asked_for() -> None:
    texts = [f"{OFFICE} {number}" for number in range(4)]
    hits = (cited(texts[0], URI, 500), cited(texts[1], "s3://b", 90), cited(texts[2], URI, 100),
            cited(texts[3], "s3://b", 0))  # fmt: skip
    by_rank = pack(ranked(*hits), 1000)
    by_document = pack(ranked(*hits), 1000, order="document")
    assert [source.text for source in by_rank.sources] == texts
    assert [source.text for source in by_document.sources] == [texts[i] for i in (2, 0, 3, 1)]
    assert [source.number for source in by_document.sources] == [1, 2, 3, 4]
    assert by_document.text.startswith("[1] Title (s3://handbook/rules.md, characters 100–")


def test_a_passage_that_is_there_already_is_no_source_and_not_left_out() -> None:
    whole = cited(f"{OFFICE} {VACATION}", URI)
    context = pack(ranked(whole, cited(VACATION, URI, len(OFFICE) + 1)), 1000)
    assert len(context.sources) == 1 and context.left_out == 0
    assert context.text.count(VACATION) == 1


def test_of_a_passage_that_surrounds_one_the_longer_rest_is_there() -> None:
    document = f"{OFFICE} {VACATION} {'The kitchen is clean. ' * 3}"
    inner = cited(VACATION, URI, len(OFFICE) + 1)
    context = pack(ranked(inner, cited(document, URI)), 1000)
    assert context.text.endswith(document.removeprefix(OFFICE).strip())
    (source,) = context.sources
    assert source.citation is not None
    assert (source.citation.start, source.text) == (len(OFFICE) + 1, document[33:].strip())


def test_text_of_a_passage_that_was_cut_away_is_shown_by_the_next_one() -> None:
    text = f"{VACATION} {'The kitchen is clean. ' * 200}"
    first = cited(text, URI)
    extracts, _ = extract("vacation", [first, first], 500, lambda number, hit: 10)
    assert [part.text[:8] for part in extracts] == [VACATION[:8], "… The ki"]
    assert extracts[0].end <= extracts[1].start


def test_equal_texts_are_there_once_and_the_source_names_the_others() -> None:
    shouted = f" {OFFICE.upper()}\u200b"
    hits = cited(OFFICE, "s3://a"), cited(VACATION, "s3://c"), cited(shouted, "s3://b")
    context = pack(ranked(*hits), 1000)
    assert context.text.casefold().count(OFFICE.casefold()) == 1
    assert context.same_text == 1 and context.left_out == 0
    assert [[citation.uri for citation in source.same_text] for source in context.sources] == [
        ["s3://b"], [],
    ]  # fmt: skip


def test_a_hit_that_is_there_twice_is_no_copy_in_another_document() -> None:
    same = cited(OFFICE, URI)
    context = pack(ranked(same, same), 1000)
    (source,) = context.sources
    assert context.same_text == 1 and source.same_text == ()


def test_a_line_is_that_of_the_first_character_that_is_shown() -> None:
    best = "The manager approves vacation in two weeks."
    text = "The kitchen is clean.\n" * 40 + best
    context = pack(ranked(cited(text, URI, 1_000, line=7), query="who approves vacation"), 60)
    (cut,) = context.sources
    assert cut.citation is not None and cut.is_cut
    assert cut.citation.line == 7 + text[: cut.citation.start - 1_000].count("\n") > 30
    assert f"line {cut.citation.line}, characters" in context.text


def test_a_ranking_that_abstained_has_an_empty_context() -> None:
    receipt = replace(RECEIPT, abstained=True)
    context = pack(ranked(hit(OFFICE), receipt=receipt), 100)
    assert context.text == "" and context.sources == () and "relevant" in context.notes[0]


def test_a_citation_that_is_not_of_the_text_hides_nothing() -> None:
    citation = Citation(URI, URI, 0, 10_000)
    context = pack(ranked(hit(OFFICE, citation=citation), hit(VACATION, citation=citation)), 1000)
    assert [source.is_cut for source in context.sources] == [False, False]


@pytest.mark.parametrize("value", [0, -1, 1.5, "10", None, True])
def test_a_budget_is_a_whole_number_from_1(value: object) -> None:
    with pytest.raises(InputError, match="max_tokens="):
        pack(ranked(hit(OFFICE)), value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value"),
    [("per_document", 0), ("per_document", "2"), ("order", "best"), ("order", None), ("count", 5),
     ("count", "gpt"), ("tokenizer", 5), ("tokenizer", " ")],
)  # fmt: skip
def test_invalid_arguments_are_named(name: str, value: object) -> None:
    with pytest.raises(InputError, match=f"{name}="):
        ranked(hit(OFFICE)).context(**{name: value})  # type: ignore[arg-type]


def test_names_are_one_line_without_controls_and_not_too_long() -> None:
    citation = Citation("s3://a\nb\0", "d", 0, len(OFFICE), heading="Part\t\x1b[31mone")
    line = heading(1, hit(OFFICE, title="A\0 title\n[2] \ud800", citation=citation))
    assert line == "[1] A title [2] \ufffd — Part [31mone (s3://a b )"
    assert count_tokens(name_of("word " * 100_000)) <= MAX_NAME_TOKENS
    assert name_of("word " * 100_000).endswith("word…")
    assert count_tokens(name_of("word " * 300)) <= MAX_NAME_TOKENS


def test_a_heading_that_is_the_title_is_not_repeated() -> None:
    assert heading(1, cited(OFFICE, URI, heading="Title")) == f"[1] Title ({URI})"


def test_readable_text_has_no_controls_or_hidden_letters_and_the_same_length() -> None:
    text = "a\0b\ud800c\u202ed\x9be\U000e0041f\tg\nh é"
    assert readable(text) == "a b\ufffdc d e f\tg\nh é"


def _hits() -> st.SearchStrategy[list[Hit]]:
    """Passages of two documents that may overlap, and texts without a citation."""

    def passage(text: str, name: str, start: int, length: int) -> Hit:
        whole = text * 3
        return cited(whole[start : start + length], name, min(start, len(whole)))

    passages = st.builds(
        passage,
        TEXTS,
        st.sampled_from(["s3://a", "s3://b"]),
        st.integers(0, 200),
        st.integers(0, 900),
    )
    others = st.builds(lambda text, title: hit(text, title=title), TEXTS, TEXTS)
    return st.lists(st.one_of(passages, others), max_size=6)


@given(_hits(), st.integers(1, 300))
def test_a_context_never_has_more_tokens_than_asked_for(hits: list[Hit], most: int) -> None:
    context = pack(ranked(*hits, query="vacation"), most)
    assert count_tokens(context.text) == context.tokens <= most
    visible = sum(bool(readable(entry.text).strip()) for entry in hits)
    assert len(context.sources) + context.left_out + context.same_text <= visible
    if context.left_out == 0 and not any(entry.citation for entry in hits):
        assert len(context.sources) + context.same_text == visible
    for source in context.sources:
        assert readable(source.text).strip() and readable(source.text) in context.text


COUNTERS: list[Callable[[str], Any]] = [
    len,
    lambda text: len(text) / 4,
    lambda text: list(text.encode("utf-8", "replace")),
    lambda text: text.split(),
    lambda text: len(text) // 10 + 3,  # two special tokens, and rounded down
    lambda text: len(text) ** 2 // 50,  # texts do not add up
    lambda text: [0] * (zlib.crc32(text.encode("utf-8", "replace")) % 97),  # not even monotone
]


@pytest.mark.parametrize("count", COUNTERS)
@given(_hits(), st.integers(1, 500))
@settings(max_examples=25)
def test_no_counter_ever_counts_more_than_asked_for(
    count: Callable[[str], Any], hits: list[Hit], most: int
) -> None:
    context = ranked(*hits, query="vacation").context(most, count=count)
    counted = count(context.text)
    tokens = math.ceil(counted) if isinstance(counted, int | float) else len(counted)
    assert context.tokens == tokens
    assert tokens <= most or context.text == ""


@given(TEXTS, st.lists(st.tuples(st.integers(0, 300), st.integers(1, 400)), max_size=6))
def test_no_character_of_a_document_is_there_twice(
    text: str, ranges: list[tuple[int, int]]
) -> None:
    hits = [cited(text[start : start + length], URI, start) for start, length in ranges]
    extracts, _ = extract("query", [hit for hit in hits if hit.text], 200, lambda number, hit: 5)
    seen: set[int] = set()
    for part in extracts:
        assert part.hit.citation is not None
        start = part.hit.citation.start
        characters = set(range(start + part.start, start + part.end))
        assert not characters & seen
        seen |= characters

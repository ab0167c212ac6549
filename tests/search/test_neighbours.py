"""Contexts of an index: hits grow within their section, and every source is in its document."""

import copy
import json
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.shelf import passage
from resift.errors import InputError, StoreError
from resift.index.claims import citation_of
from resift.index.table.ids import passage_id, split_id
from resift.search.index import Index
from resift.search.token_counts import count_tokens
from resift.types import Citation, Context, ContextOrder, Hit, Ranking
from search.hits import cited, ranked
from search.library import TOPICS, open_library, paragraph, write_documents


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Index, Path]]:
    """Shared by tests that change neither it nor its documents."""
    yield from open_library(tmp_path_factory.mktemp("library"))


@pytest.fixture(scope="module")
def index(library: tuple[Index, Path]) -> Index:
    return library[0]


def search(index: Index, query: str, top_n: int = 3) -> Ranking:
    return index.search(query, top_n, rerank=False, mode="lexical")


def document(index: Index, citation: Citation) -> str:
    """The text of a document from its first to its last passage, as the index has it."""
    name = citation.uri if citation.row is None else f"{citation.uri}#{citation.doc_id}"
    whole = index.passage(passage_id(name, 0), after=100)
    assert whole is not None and whole.citation is not None
    assert whole.citation.end - whole.citation.start == len(whole.text)
    return " " * whole.citation.start + whole.text


def check(index: Index, ranking: Ranking, context: Context, most: int) -> None:
    """What holds for every context of an index."""
    assert count_tokens(context.text) == context.tokens <= most
    shown: set[tuple[str, str, int]] = set()
    for source in context.sources:
        cited = source.citation
        assert cited is not None
        assert document(index, cited)[cited.start : cited.end] == source.text == source.text.strip()
        assert source.text in context.text
        characters = {(cited.uri, cited.doc_id, at) for at in range(cited.start, cited.end)}
        assert not characters & shown
        shown |= characters
        for id_ in source.passages:
            row = index.passage(id_)
            assert row is not None and row.citation is not None
            assert (row.citation.heading, row.citation.page) == (cited.heading, cited.page)
    kept_out = context.left_out + context.same_text + context.over_limit
    ids = {id_ for source in context.sources for id_ in source.passages}
    assert len(ids & {hit.id for hit in ranking}) + kept_out == len(ranking)


@given(
    st.lists(st.sampled_from(TOPICS), min_size=1, max_size=3),
    st.integers(1, 8),
    st.integers(1, 2_500),
    st.sampled_from(["rank", "document"]),
    st.none() | st.integers(1, 3),
)
@settings(max_examples=40)
def test_every_source_is_a_range_of_its_document_and_nothing_is_there_twice(
    index: Index,
    topics: list[str],
    top_n: int,
    most: int,
    order: ContextOrder,
    per_document: int | None,
) -> None:
    ranking = search(index, " ".join(topics), top_n)
    context = ranking.context(most, order=order, per_document=per_document)
    check(index, ranking, context, most)
    assert context.notes == ()


@pytest.mark.parametrize("topic", ["lighthouse", "compass", "anchor", "sextant", "rudder", "keel"])
def test_every_source_is_verified_against_the_file(index: Index, topic: str) -> None:
    sources = search(index, topic, 4).context(1_500).sources
    verdicts = index.verify_citations(sources)
    assert sources and [verdict.status for verdict in verdicts] == ["verified"] * len(sources)
    as_json = [json.loads(json.dumps(asdict(source))) for source in sources]
    assert index.verify_citations(as_json) == verdicts
    moved = replace(sources[0], text=sources[0].text.swapcase())
    assert index.verify_citation(moved).status == "unverified"


def test_a_hit_grows_by_the_passages_of_its_section_and_not_beyond(index: Index) -> None:
    ranking = search(index, "lighthouse part 3", 1)
    (source,) = ranking.context(5_000).sources
    assert source.citation is not None and source.citation.heading == "Light"
    assert source.text.endswith(paragraph("lighthouse", 5)) and "compass" not in source.text
    assert len(source.passages) > 4 and not source.is_cut


def test_growth_is_in_turn_and_best_first(index: Index) -> None:
    def grown(most: int) -> list[int]:
        ranking = search(index, "lighthouse part 2 compass part 1", 20)
        best = (next(hit for hit in ranking if hit.citation and hit.citation.heading == heading
                     and f"part {part}" in hit.text)
                for heading, part in (("Light", 2), ("North", 1)))  # fmt: skip
        chosen = replace(ranking, hits=tuple(best))
        return [len(source.passages) for source in chosen.context(most).sources]

    sizes = [grown(most) for most in range(500, 2_600, 60)]
    assert [1, 1] in sizes and [2, 1] in sizes and [2, 2] in sizes
    in_turn = sizes[sizes.index([1, 1]) :]
    assert all(first - second in (0, 1) for first, second in in_turn if second < 3)
    assert sizes[-1][0] > 3 and sizes[-1][1] == 3


def test_a_hit_grows_after_and_before_it_in_turn(index: Index) -> None:
    ranking = search(index, "lighthouse part 2", 20)
    hit = next(hit for hit in ranking if "lighthouse of part 2 " in hit.text)
    around: dict[tuple[int, int], None] = {}
    for most in range(300, 2_000, 40):
        (source,) = replace(ranking, hits=(hit,)).context(most).sources
        before = source.passages.index(hit.id)
        around[before, len(source.passages) - before - 1] = None
    assert list(around)[:4] == [(0, 0), (0, 1), (1, 1), (1, 2)]


def with_scores(ranking: Ranking, *scores: float | None) -> Ranking:
    """The ranking as a reranker with these scores would give it."""
    hits = [replace(hit, score=score) for hit, score in zip(ranking, scores, strict=True)]
    return replace(ranking, hits=tuple(hits))


@pytest.mark.parametrize(
    ("scores", "grown"),
    [
        ((0.9, 0.5, 0.0899), [True, True, False]),
        ((0.9, 0.5, 0.091), [True, True, True]),
        ((0.9, 0.05, None), [True, False, True]),
        ((0.001, 0.0009, 0.0008), [True, True, True]),
        ((0.0, 0.0, 0.0), [True, True, True]),
        ((-1.0, -2.0, -30.0), [True, True, True]),
        ((None, None, None), [True, True, True]),
    ],
)
def test_a_hit_far_below_the_best_does_not_grow(
    index: Index, scores: tuple[float | None, ...], grown: list[bool]
) -> None:
    hits = [search(index, f"{topic} part 1", 1)[0] for topic in ("lighthouse", "rudder", "anchor")]
    ranking = replace(search(index, "lighthouse", 1), hits=tuple(hits))
    context = with_scores(ranking, *scores).context(10_000)
    assert [len(source.passages) > 1 for source in context.sources] == grown


def test_only_passages_round_hits_that_grow_are_read(index: Index) -> None:
    ranking = search(index, "lighthouse compass", 6)
    hits = [search(index, f"{topic} part 1", 1)[0] for topic in ("lighthouse", "rudder")]
    noting = Noting(ranking.neighbours)
    ranking = replace(ranking, hits=tuple(hits), neighbours=noting)
    with_scores(ranking, 0.9, 0.01).context(10_000)
    names = [id_.rpartition("#")[0] for id_ in noting.ids]
    strong, weak = (names.count(hit.id.rpartition("#")[0]) for hit in hits)
    assert strong > 5 and weak == 1 and noting.reads == 1


def test_a_weak_hit_that_a_better_one_has_grown_to_grows_with_it(index: Index) -> None:
    (whole,) = search(index, "lighthouse part 3", 1).context(5_000).sources
    first, second = index.passage(whole.passages[0]), index.passage(whole.passages[2])
    assert first is not None and second is not None
    hits = [
        replace(search(index, "lighthouse", 1)[0], id=row.id, text=row.text, citation=row.citation)
        for row in (first, second)
    ]
    ranking = replace(search(index, "lighthouse", 1), hits=tuple(hits))
    (source,) = with_scores(ranking, 0.9, 0.01).context(5_000).sources
    assert source.passages == whole.passages


class Noting:
    """Notes the ids of the passages that are read, and how often any are."""

    def __init__(self, reader: Any) -> None:
        self.reader, self.ids, self.reads = reader, list[str](), 0

    def read(self, ids: Sequence[str]) -> Sequence[Any]:
        self.ids += ids
        self.reads += 1
        passages: Sequence[Any] = self.reader.read(ids)
        return passages


def test_a_hit_that_did_not_fit_is_not_left_out_if_a_better_one_grows_to_it() -> None:
    """Its line above alone would take the room that is left."""
    texts = ("The keel is long.", "The mast is high.")
    rows = [passage("s3://b/a", text, n, 2, start=20 * n, end=20 * n + 17, after="\n\n\n")
            for n, text in enumerate(texts)]  # fmt: skip
    hits = [cited(row.text, "s3://b/a", row.start, heading=row.heading, page=row.page)
            for row in rows]  # fmt: skip

    class Reader:
        def read(self, ids: Sequence[str]) -> Sequence[Any]:
            return [row for row in rows if row.id in ids]

    ids = [replace(hit, id=row.id, citation=citation_of(row))
           for hit, row in zip(hits, rows, strict=True)]  # fmt: skip
    ranking = replace(ranked(*ids), neighbours=Reader())
    whole = ranking.context(1_000)
    for per_document in (None, 1):
        context = ranking.context(whole.tokens, per_document=per_document)
        assert context.sources[0].passages == (rows[0].id, rows[1].id)
        assert context.left_out == context.over_limit == 0


def test_every_hit_gets_its_text_before_any_hit_grows(index: Index) -> None:
    ranking = search(index, "lighthouse compass anchor sextant", 6)
    most = sum(count_tokens(hit.text) for hit in ranking) + 75 * len(ranking)
    context = ranking.context(most)
    assert context.left_out == 0
    assert not any(source.is_cut for source in context.sources)


def test_hits_next_to_each_other_are_one_source_with_the_text_between(index: Index) -> None:
    ranking = search(index, "anchor", 20)
    hits = [hit for hit in ranking if hit.id.rpartition("#")[0].endswith("plain.txt")]
    pair = sorted(hits, key=lambda hit: hit.id)[:2]
    context = replace(ranking, hits=tuple(reversed(pair))).context(
        sum(count_tokens(hit.text) for hit in pair) + 150
    )
    (source,) = context.sources
    assert pair[0].citation is not None and pair[1].citation is not None
    assert source.passages == (pair[0].id, pair[1].id) and source.id == pair[1].id
    assert source.citation == replace(pair[0].citation, end=pair[1].citation.end)


def test_pages_of_a_pdf_are_sources_of_their_own(index: Index) -> None:
    sources = search(index, "sextant", 4).context(3_000).sources
    pages = {source.citation.page: source for source in sources if source.citation}
    assert sorted(pages, key=str) == [1, 2, 3, 4]
    for number, source in pages.items():
        assert f"part {int(number or 0) - 1} " in " ".join(source.text.split())


def test_rows_of_a_file_never_grow_into_each_other(index: Index) -> None:
    for topic, row in (("keel", 1), ("rudder", 2)):
        (source,) = search(index, topic, 1).context(5_000).sources
        assert source.citation is not None and source.citation.row == row
        assert len(source.passages) == 3 and source.text.count(f"The {topic} of part") == 3


def test_a_copy_in_another_document_is_named_and_not_shown(index: Index) -> None:
    ranking = search(index, "pilot harbour", 2)
    context = ranking.context(500)
    (source,) = context.sources
    assert context.same_text == 1 and context.text.casefold().count("pilot") == 1
    assert {cited.uri.rpartition("/")[2] for cited in (source.citation, *source.same_text)
            if cited} == {"short.txt", "mirror.txt"}  # fmt: skip
    assert all(index.verify_citation(hit).is_confirmed for hit in ranking)


def of_file(index: Index, name: str) -> dict[int, Hit]:
    """The hits about anchors in a file, by ordinal."""
    parts = ((split_id(hit.id), hit) for hit in search(index, "anchor", 20))
    return {part[1]: hit for part, hit in parts if part and part[0].endswith(name)}


def test_a_neighbour_whose_text_is_there_already_is_not_added(index: Index) -> None:
    plain, copied = of_file(index, "plain.txt"), of_file(index, "copy.txt")
    ranking = replace(search(index, "anchor"), hits=(plain[1], copied[3]))
    context = ranking.context(5_000)
    for number in range(5):
        assert context.text.count(paragraph("anchor", number)) == 1


def test_a_neighbour_of_which_a_part_is_there_already_is_not_added(index: Index) -> None:
    plain = of_file(index, "plain.txt")
    cited = plain[2].citation
    assert cited is not None
    part = replace(
        plain[2],
        id="by hand",
        text=plain[2].text[40:-40],
        citation=replace(cited, start=cited.start + 40, end=cited.end - 40),
    )
    ranking = replace(search(index, "anchor"), hits=(plain[1], part))
    first, second = ranking.context(5_000).sources
    assert first.passages == (passage_id(split_id(plain[1].id)[0], 0), plain[1].id)  # type: ignore[index]
    assert second.text == part.text.strip() and second.passages == ("by hand",)


def test_neighbours_are_in_the_order_of_the_document(index: Index) -> None:
    hit = search(index, "lighthouse part 3", 1)[0]
    name, ordinal = split_id(hit.id) or ("", 0)
    rows = index.neighbours(hit, before=2, after=1)
    assert [row.id for row in rows] == [
        passage_id(name, ordinal + step) for step in (-2, -1, 1)
    ]  # fmt: skip
    assert all(row.citation and row.text for row in rows)
    assert index.neighbours(hit.id, 2, 1) == index.neighbours(rows[1], 1, 2)[:1] + rows[1:] or (
        index.neighbours(hit.id, 2, 1) == rows
    )
    assert index.neighbours(hit, 0, 0) == []
    with pytest.raises(InputError, match="it has changed; search again"):
        index.neighbours(replace(hit, text=hit.text[1:]))


def test_neighbours_end_with_the_document_however_many_are_asked_for(index: Index) -> None:
    hit = search(index, "keel", 1)[0]
    everything = index.neighbours(hit, 10**9, 10**12)
    assert len(everything) == 2
    assert {row.citation.row for row in everything if row.citation} == {1}


@pytest.mark.parametrize(
    "passage", ["", "#", "nothing", "nothing#0", "a#-1", "a#٣", "a#" + "9" * 50]
)
def test_a_passage_that_is_not_there_has_no_neighbours(index: Index, passage: str) -> None:
    assert index.passage(passage) is None
    with pytest.raises(InputError, match="no such passage"):
        index.neighbours(passage)


@pytest.mark.parametrize("value", [-1, 1.5, "1", None, True])
def test_how_many_neighbours_is_a_whole_number(index: Index, value: object) -> None:
    hit = search(index, "keel", 1)[0]
    with pytest.raises(InputError, match="before="):
        index.neighbours(hit, value)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="after="):
        index.passage(hit.id, 0, value)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="passage="):
        index.neighbours(5)  # type: ignore[arg-type]


def test_a_passage_with_those_around_it_is_one_range(index: Index) -> None:
    hit = search(index, "compass part 1", 1)[0]
    wide = index.passage(hit.id, before=1, after=1)
    assert wide is not None and wide.citation is not None and hit.citation is not None
    assert hit.text in wide.text and wide.id == hit.id
    assert wide.citation.start < hit.citation.start < hit.citation.end < wide.citation.end
    alone = index.passage(hit.id)
    assert alone is not None and alone.precomputed and not wide.precomputed
    assert index.verify_citation(wide).status == "verified"


def test_a_ranking_without_an_index_has_a_context_of_its_hits_alone(index: Index) -> None:
    ranking = search(index, "lighthouse part 3", 1)
    for other in (ranked(*ranking), pickle.loads(pickle.dumps(ranking)), copy.deepcopy(ranking)):
        (source,) = other.context(5_000).sources
        assert source.text == ranking[0].text and other.neighbours is None


def test_a_hit_whose_text_is_not_the_index_s_does_not_grow(index: Index) -> None:
    ranking = search(index, "lighthouse part 3", 1)
    hit: Hit = ranking[0]
    assert hit.citation is not None
    for change in (
        {"text": hit.text.swapcase()},
        {"citation": replace(hit.citation, etag="other")},
        {"id": "other"},
    ):
        changed = replace(ranking, hits=(replace(hit, **change),))
        (source,) = changed.context(5_000).sources
        assert len(source.passages) == 1


def test_a_changed_document_has_no_neighbours_of_its_old_state(tmp_path: Path) -> None:
    for index, documents in open_library(tmp_path / "changing"):
        ranking = search(index, "anchor part 2", 1)
        (before,) = ranking.context(5_000).sources
        name = Path(str(ranking[0].citation and ranking[0].citation.uri)).name
        (documents / name).write_text("Nothing of it is left.")
        assert index.verify_citation(before).status == "changed"
        index.sync(str(documents))
        with pytest.raises(InputError, match="search again"):
            index.neighbours(ranking[0])
        (after,) = ranking.context(5_000).sources  # of the version that was searched
        assert after == before


def test_an_index_that_cannot_be_read_any_more_gives_the_hits_and_says_so(tmp_path: Path) -> None:
    class Broken:
        def read(self, ids: object) -> list[object]:
            raise StoreError("the disk is gone")

    (tmp_path / "x").mkdir()
    write_documents(tmp_path / "x" / "documents")
    hit = Hit(1, 0, "a#0", None, None, "The keel.", 1, None, 1, 0, (0, 0), "ok",
              citation=Citation("a", "a", 0, 9, "etag"))  # fmt: skip
    context = replace(ranked(hit), neighbours=Broken()).context(100)
    assert "The keel." in context.text
    assert context.notes == ("without neighbours: the disk is gone",)

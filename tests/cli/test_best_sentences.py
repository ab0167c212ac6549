"""The sentence that is shown of a hit: the reranker's own choice, else the one by shared words."""

from dataclasses import replace

import pytest

from cli.rankings import hit, ranking
from resift import Reranker
from resift.cli.best_sentences import MAX_ALL, MAX_SENTENCES, best_sentence, best_sentences
from resift.errors import RuntimeFailure
from resift.rerank.explain import Occlusion
from resift.types import Document, Hit, Ranking

QUERY = "who invented the telephone"
TEXT = (
    "The telephone of the office is not for private calls. "
    "Alexander Graham Bell built the first such device in 1876. "
    "The weather was bad."
)
BELL = "Alexander Graham Bell built the first such device in 1876. "


def _shown(result: Ranking, budget_ms: float | None = None) -> list[str]:
    spans = best_sentences(result, budget_ms)
    return [_of(each, span) for each, span in zip(result, spans, strict=True)]


def _of(each: Hit, span: tuple[int, int] | None) -> str:
    return each.text[slice(*span)] if span else ""


def test_the_sentence_is_the_rerankers_and_not_that_of_shared_words(
    in_one_runtime: Reranker,
) -> None:
    result = in_one_runtime.rank(QUERY, [TEXT, "A single sentence on the telephone."])
    words = best_sentence(QUERY, TEXT)
    assert words is not None and TEXT[slice(*words)].startswith("The telephone of the office")
    assert sorted(_shown(result)) == ["A single sentence on the telephone.", BELL]


def test_it_is_the_sentence_with_the_highest_logit_below_the_title(
    in_one_runtime: Reranker,
) -> None:
    document = Document("a", TEXT, "History")
    result = in_one_runtime.rank(QUERY, [document, "x"])
    assert isinstance(result.explainer, Occlusion)
    spans = [(0, 54), (54, 113), (113, len(TEXT))]
    position = [each.id for each in result].index("a")
    best, nothing = result.explainer.best_spans(
        QUERY, [(result[position], spans), (result[1 - position], [])]
    )
    logits = in_one_runtime.score(QUERY, [f"History\n{TEXT[a:b]}" for a, b in spans])
    assert best == spans[int(logits.argmax())] and nothing is None


def test_of_sentences_with_the_same_words_the_shortest_is_best() -> None:
    text = f"The telephone was {'a thing ' * 20}of beauty. The telephone rang."
    span = best_sentence("telephone", text)
    assert span is not None and text[slice(*span)] == "The telephone rang."


@pytest.mark.parametrize("budget_ms", [0.0, -5.0])
def test_without_time_or_a_reranker_shared_words_decide(
    budget_ms: float, in_one_runtime: Reranker
) -> None:
    result = in_one_runtime.rank(QUERY, [TEXT])
    by_words = ["The telephone of the office is not for private calls. "]
    assert _shown(result, budget_ms) == by_words
    assert _shown(replace(result, explainer=None)) == by_words
    assert _shown(result, 60_000.0) == [BELL]


def test_only_what_was_read_is_searched(in_one_runtime: Reranker) -> None:
    result = in_one_runtime.rank(QUERY, [TEXT])
    window = replace(result[0], span=(113, len(TEXT)))
    assert _shown(replace(result, hits=(window,))) != [BELL]


def test_of_many_sentences_those_with_the_querys_words_are_scored(
    in_one_runtime: Reranker, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []
    best_spans = Occlusion.best_spans

    def counted(self: Occlusion, query: str, documents: list[tuple[Hit, list[object]]], ms: None):  # type: ignore[no-untyped-def]  # noqa: ANN202
        counts.extend(len(spans) for _, spans in documents)
        return best_spans(self, query, documents, ms)  # type: ignore[arg-type]

    monkeypatch.setattr(Occlusion, "best_spans", counted)
    text = "Nothing of note. " * 30 + "Bell invented the telephone. " + "Rain fell again. " * 30
    assert _shown(in_one_runtime.rank(QUERY, [text])) == ["Bell invented the telephone. "]
    assert counts == [MAX_SENTENCES]
    counts.clear()
    _shown(in_one_runtime.rank(QUERY, ["\n\nA single sentence on the telephone."]))
    assert counts == [0], "white space is no sentence"
    counts.clear()
    result = in_one_runtime.rank(QUERY, [TEXT])
    _shown(replace(result, hits=result.hits * 200))
    assert sum(counts) == MAX_ALL and counts[:1] + counts[-1:] == [2, 0]


def test_a_reranker_that_fails_leaves_the_choice_to_words(
    in_one_runtime: Reranker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeFailure("out of memory")

    result = in_one_runtime.rank(QUERY, [TEXT])
    monkeypatch.setattr(Occlusion, "best_spans", fail)
    assert _shown(result) == ["The telephone of the office is not for private calls. "]
    assert "out of memory" in caplog.text


@pytest.mark.parametrize("text", ["", " \n", None, 5, "深圳"])
def test_odd_texts_have_no_sentence_and_no_error(text: object, in_one_runtime: Reranker) -> None:
    document = Document("a", text)  # type: ignore[arg-type]
    assert _shown(in_one_runtime.rank(QUERY, [document])) == [""]
    assert _shown(ranking(hit(text), query="x")) == [""]

"""The query's words are marked in other forms, in identifiers and in scripts without spaces."""

import sys

import pytest

from resift.cli.marks import QueryWords

pytest.importorskip("Stemmer")


@pytest.mark.parametrize(
    ("query", "text", "marked"),
    [
        (
            "what stops a deletion",
            "It stopped deleted deletions, what.",
            "stopped deleted deletions",
        ),
        ("put retention", "PutObjectRetention put_object x", "Put Retention put"),
        ("max_memory_mb", "set max_memory_mb=4 of memory", "max_memory_mb memory"),
        ("0x80070005", "error 0x80070005: 80070005", "0x80070005"),
        ("http server", "HTTPServer http2 serve", "HTTP Server http"),
        ("86 servers", "x86 URLs Server2", "Server"),  # the index has no 86 for x86
        ("handler größe", "größeHandler", "größe Handler"),
        ("1000 nasa pictures", "1,000 of NASA's pictures", "1,000 NASA's pictures"),
        ("résumé", "Résumés and resume", "Résumés resume"),
        ("to be or not to be", "not to be", "not to be"),
        ("深圳首都", "东京是日本的首都。深圳在中国", "首都 深圳"),
        ("深", "深圳很深", "深 深"),
        ("สวัสดี", "สวัสดีครับ", "สวัสดี"),
        ("zebra", "Nothing of that kind.", ""),
        ("!?", "Nothing, of that kind!?", ""),
    ],
)
def test_words_are_marked(query: str, text: str, marked: str) -> None:
    spans = list(QueryWords(query).spans(text))
    assert " ".join(text[start:end] for start, end in spans) == marked
    assert spans == sorted(spans)


def test_stems_are_those_of_the_indexs_language() -> None:
    text = "Die Häuser sind alt"
    assert list(QueryWords("haus", "german").spans(text)) == [(4, 10)]
    assert list(QueryWords("haus", "none").spans(text)) == []


def test_without_stemmers_words_with_the_same_beginning_are_marked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from resift.index.analysis import analyser

    monkeypatch.setitem(sys.modules, "Stemmer", None)
    analyser.open_analyser.cache_clear()
    text = "deleted objects are gone"
    try:
        spans = list(QueryWords("the deletion").spans(text))
    finally:
        analyser.open_analyser.cache_clear()
    assert [text[start:end] for start, end in spans] == ["deleted"]

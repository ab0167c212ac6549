"""Proves the terms of each kind of word: what is written, and which queries meet it."""

import pytest

from resift.index.analysis.analyser import Analyser, open_analyser
from resift.index.analysis.spec import AnalyserSpec

ENGLISH = AnalyserSpec()


@pytest.fixture(scope="module")
def english() -> Analyser:
    return open_analyser(ENGLISH)


def is_met(analyser: Analyser, document: str, query: str) -> bool:
    """Whether the document has each term of the query, so that no term speaks for another."""
    terms, exact = (set(line.split()) for line in analyser.document(document))
    asked = analyser.query(query)
    return bool(asked.terms) and (
        terms.issuperset(asked.terms.split())
        and exact.issuperset(asked.words.split())
        and exact.issuperset(asked.identifiers.split())
    )


@pytest.mark.parametrize(
    ("text", "terms", "exact"),
    [
        ("PutObjectRetention", "putobjectretent put object retent", "retention putobjectretention"),
        ("max_memory_mb", "max memori mb", "memory max_memory_mb"),
        ("foo.bar.baz", "foo bar baz", "foo.bar.baz"),
        ("0x80070005", "0x80070005", ""),
        ("2026.4.10", "2026 4 10", "2026.4.10"),
        ("kebab-case", "kebabcas kebab case", "kebab-case"),
        ("a/b/c.py", "a b c py", "a/b/c.py c.py"),
        ("user@example.com", "user exampl com", "example user@example.com example.com"),
        ("C++", "c", "c++"),
        ("C#", "c", "c#"),
        (".NET", "net", ".net"),
        ("HTTP2Server", "http2server http http2 server", "http2server"),
        ("IPv6Address", "ipv6address ipv ipv6 address", "ipv6address"),
        ("URLs", "url", "urls"),
        ("sha256:3bbd9b4a", "sha256 sha 256 3bbd9b4a", "sha256:3bbd9b4a"),
        ("--flag-name", "flagnam flag name", "flag-name --flag-name"),
        ("@cached", "cach", "cached @cached"),
        ("$VAR", "var", "$var"),
        ("x86_64", "x86 64", "x86_64"),
        ("v1.2.3", "v1 2 3 1", "v1.2.3 1.2.3"),
        ("__init__", "init", "__init__"),
        ("std::vector<int>", "std vector int", "std::vector"),
        ("C:\\dir\\file.txt", "c dir file txt", "c:\\dir\\file.txt file.txt"),
        ("arn:aws:s3:::b/key", "arn aw s3 b key", "aws arn:aws:s3:::b/key"),
        ("1,000 1,234,567", "1000 1234567", ""),
        ("10,5", "10 5", ""),
        ("U.S.A.", "usa", "u.s.a"),
        ("O'Brien's", "obrien brien", "o'brien"),
        ("don’t", "dont don", "don't"),
        ("it isn't", "it isnt isn", "isn't"),
        ("aGVsbG8gd29ybGQhIQ==", "agvsbg8gd29ybgqhiq", ""),
        ("résumés", "resum", "résumés"),
        ("Straße", "strass", "strasse"),
        ("٣٤", "34", ""),
        ("हिन्दी", "हिन्दी", ""),
        ("👩‍💻 🇩🇪 👍🏽", "👩 💻 🇩🇪 👍", ""),
        ("", "", ""),
        ("?! ... --- ''", "", ""),
    ],
)
def test_the_terms_of_a_document(english: Analyser, text: str, terms: str, exact: str) -> None:
    assert english.document(text) == (terms, exact)


@pytest.mark.parametrize(
    ("document", "query"),
    [
        ("call PutObjectRetention now", "put object retention"),
        ("call PutObjectRetention now", "PutObjectRetention"),
        ("PutObjectLegalHold", "legal hold"),
        ("max_memory_mb=4", "max memory"),
        ("see src/resift/index/sync.py:12", "sync.py"),
        ("https://docs.example.com/guide/Locks?a=1", "guide locks"),
        ("https://docs.example.com/guide", "docs.example.com"),
        ("write to jane.doe@example.com", "example.com"),
        ("send an e-mail", "email"),
        ("send an e-mail", "e mail"),
        ("UTF-8", "utf8"),
        ("COVID-19", "covid19"),
        ("it costs 1,000 euros", "1000"),
        ("it costs 1000 euros", "1,000"),
        ("released as v1.2.3", "1.2.3"),
        ("the user's guide", "user"),
        ("l'homme", "homme"),
        ("U.S.A.", "USA"),
        ("don't", "dont"),
        ("at 3bbd9b4a" + "0" * 32, "3bbd9b4"),
        ("std\u00adard\u200bised", "stdardised"),
        ("ﬁne ＡＢＣ", "fine abc"),
        ("日本語のデータベース", "語の"),
        ("日本語", "日"),
        ("삭제하는 방법", "삭제"),
        ("ข้อผิดพลาดที่เกิดขึ้น", "เกิด"),
        ("ซ้ำซ้อน", "ซ้ำ"),
        ("ที่ซ้ำซ้อน", "ที่ซ้"),
        ("ลบ\u200bไฟล์", "ไฟล์"),
        ("ຂໍ້ມູນ", "ມູນ"),
        ("ភាសាអេស្ប៉ាញ", "ស្ប៉ា"),
        ("ခုနစ်", "နစ်"),
    ],
)
def test_a_query_that_meets_a_document(english: Analyser, document: str, query: str) -> None:
    assert is_met(english, document, query)


@pytest.mark.parametrize(
    ("document", "query"),
    [
        ("the face of a decade", "f"),  # hexadecimal digits only, but a word
        ("putting", "put_object"),
        ("C", "C++"),
        ("日本", "本日"),
        ("รถ", "ถร"),
    ],
)
def test_a_query_that_does_not(english: Analyser, document: str, query: str) -> None:
    assert not is_met(english, document, query)


def test_a_query_does_not_ask_for_what_only_documents_need(english: Analyser) -> None:
    """Single characters and abbreviations are for other queries, and would only add matches."""
    assert english.query("日本語").terms == "日本 本語"
    commit = "3bbd9b4a" * 5
    assert english.query(commit).terms == commit


def test_identifiers_and_words_are_apart(english: Analyser) -> None:
    terms = english.query("running max_memory_mb well-known")
    assert terms.identifiers == "max_memory_mb"
    assert terms.words == "running memory well-known"


def test_a_term_is_asked_for_once(english: Analyser) -> None:
    assert english.query("buffalo Buffalo buffalo").terms == "buffalo"


def test_a_long_token_is_whole_and_short(english: Analyser) -> None:
    """64 digits of a hash stay as they are; a megabyte is cut, and still differs from others."""
    commit = "0123456789abcdef" * 4
    assert english.document(commit)[0].split()[0] == commit
    blob = "a" * 1_000_000
    (term,) = english.document(blob)[0].split()
    assert len(term) < 300 and term == english.query(blob).terms
    assert term != english.document(blob + "b")[0]


def test_a_megabyte_of_names_has_bounded_terms(english: Analyser) -> None:
    terms, exact = english.document("foo.bar/" * 100_000)
    assert max(map(len, (terms + " " + exact).split())) < 300
    assert set(terms.split()) == {"foo", "bar"}


@pytest.mark.parametrize(
    ("language", "document", "query"),
    [
        ("german", "Häuser am Fluss", "haus"),
        ("german", "Müller", "Mueller"),
        ("german", "Straße", "strasse"),
        ("french", "téléphones", "telephone"),
        ("french", "l'école", "ecoles"),
        ("spanish", "canción", "canciones"),
        ("russian", "базами данных", "база"),
        ("greek", "ΒΙΒΛΙΟΘΗΚΗΣ", "βιβλιοθήκη"),
        ("turkish", "İstanbul", "istanbul"),
        ("turkish", "ISPARTA", "ısparta"),
        ("arabic", "الكِتَابُ", "كتاب"),
        ("none", "Zoë", "zoe"),
    ],
)
def test_other_languages(language: str, document: str, query: str) -> None:
    analyser = open_analyser(AnalyserSpec(language=language))
    stems = set(analyser.document(document)[0].split())
    assert stems.issuperset(analyser.query(query).terms.split())


def test_turkish_has_a_dotted_and_a_dotless_i() -> None:
    turkish = open_analyser(AnalyserSpec(language="turkish"))
    assert turkish.query("ISPARTA ısparta").words == "ısparta"
    assert turkish.query("İZMİR izmir").terms == turkish.query("izmir").terms


def test_a_language_without_stems_has_none() -> None:
    assert open_analyser(AnalyserSpec(language="none")).document("running dogs")[0] == (
        "running dogs"
    )

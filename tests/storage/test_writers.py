"""Proves that processes may sync into one index at once, and that searches see finished versions.

In odd rounds both sync the same documents, in even ones each has a folder of its own.
"""

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from resift.errors import IndexNotFound
from storage.corpus import Corpus, children

ROUNDS = 4
DOCUMENTS = 24
PACE = {"commit": 6, "embed_s": 0.01}


def test_two_writers_at_once_lose_nothing_and_double_nothing(corpus: Corpus) -> None:
    rng = random.Random(7)
    documents: dict[str, str] = {}
    with children(corpus.storage) as start, readers(corpus) as seen:
        waiting = [start(), start()]
        for number in range(1, ROUNDS + 1):
            running, waiting = waiting, [start(), start()]
            change(corpus, documents, number)
            sources = ["", ""] if number % 2 else ["/one", "/two"]
            for child, source in zip(running, sources, strict=True):
                child.order(f"{corpus.docs}{source}", corpus.index_uri, **PACE)
                time.sleep(rng.random() * 0.3)
            for child in running:
                child.result()  # raises for any exit but 0
            held = sorted((row[1], row[7]) for row in corpus.rows())
            assert held == sorted((f"{corpus.docs}/{key}", text) for key, text in documents.items())
            assert {row[1]: row[2] for row in corpus.rows()} == corpus.etags()
    assert_line(corpus)
    assert len({version for version, _ in seen.results}) > 2
    held_by = {version: {row[0] for row in corpus.rows(version)} for version, _ in seen.results}
    assert all(ids == held_by[version] for version, ids in seen.results)


@pytest.mark.parametrize(
    "corpus", ["folder", pytest.param("bucket", marks=pytest.mark.long)], indirect=True
)
def test_the_later_sync_decides_the_content_of_an_object(corpus: Corpus) -> None:
    corpus.write({f"{n}.txt": "first" for n in range(DOCUMENTS)})
    with children(corpus.storage) as start:
        early, late = start(), start()
        early.order(corpus.docs, corpus.index_uri, embed_s=1.0)
        time.sleep(0.5)  # by then it has listed and read the documents
        corpus.write({f"{n}.txt": "second" for n in range(DOCUMENTS)})
        late.order(corpus.docs, corpus.index_uri)
        late.result()
        assert {row[7] for row in corpus.rows()} == {"second"}
        early.result()
        assert [row[7] for row in corpus.rows()] == ["second"] * DOCUMENTS
    assert_line(corpus)


def change(corpus: Corpus, documents: dict[str, str], number: int) -> None:
    """Rewrite a third, add two, delete two; all texts have one word in common."""
    names = range(DOCUMENTS) if number == 1 else range(number % 3, DOCUMENTS, 3)
    new = {f"{folder(n)}/{n}.txt": f"Everything in round {number}: {n}" for n in names}
    new |= {f"{name}/new {number}.txt": f"Everything new: {number}" for name in ("one", "two")}
    gone = [key for key in documents if key.endswith(f"new {number - 1}.txt")]
    corpus.write(new)
    for key in gone:
        corpus.delete(key)
        del documents[key]
    documents |= new


def folder(number: int) -> str:
    return "one" if number % 2 else "two"


@dataclass
class Seen:
    """The results of searches: a version, and the ids of all passages with the word."""

    results: list[tuple[int, set[str]]] = field(default_factory=list)
    failed: list[BaseException] = field(default_factory=list)


@contextmanager
def readers(corpus: Corpus) -> Iterator[Seen]:
    """Search the newest version again and again."""
    seen = Seen()
    stop = threading.Event()

    def read() -> None:
        index = corpus.index()
        while not stop.wait(0.02):
            index.refresh()
            try:
                ranking = index.search("everything", 1000, 1000, mode="lexical", rerank=False)
            except IndexNotFound:
                continue  # nothing was published yet
            except Exception as error:
                seen.failed.append(error)
                return
            seen.results.append((ranking.receipt.version or 0, {hit.id or "" for hit in ranking}))

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()
    assert not seen.failed, seen.failed


def assert_line(corpus: Corpus) -> None:
    """Check that version numbers are consecutive and table versions only increase."""
    numbers = corpus.versions.numbers()
    assert numbers == list(range(1, len(numbers) + 1))
    tables = [corpus.versions.get(number).table_version for number in numbers]
    assert tables == sorted(tables)

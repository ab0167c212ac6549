"""Does the lexical retriever find more by resift's analyser than by Lance's tokenizers?

    python benchmarks/lexical.py COLLECTION… [--queries 400] [--language english] [--messages 50]

Each BEIR folder is indexed as whole documents (title and text), once by the analyser and once by
Lance's default tokenizer, and its judged queries are ranked. The documents per second are those of
the analyser alone.

Then the messages of Django's catalogues in languages without spaces, or with suffixes, are searched
for parts of words: a query is the middle of a run of such characters, in a message chosen at even
steps, if at most 10 messages contain it. It succeeds if that message is among the first 10.
Lance's ``icu`` tokenizer, which segments by dictionary, is measured beside the others. Needs
the package django; --messages 0 leaves this out. Last line of stdout: JSON.
"""

import argparse
import gettext
import importlib.util
import json
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa
from lance.query import MatchQuery

from resift.evaluation.collection import open_collection
from resift.evaluation.measures import Evaluator, means, scores_by_rank
from resift.index.analysis.analyser import Analyser, open_analyser
from resift.index.analysis.spec import AnalyserSpec, checked_choice
from resift.index.normalisation import searchable
from resift.index.table.rows import EXACT_TERMS, TERMS
from resift.index.table.term_indexes import index_terms, search_terms

MEASURES = ("nDCG@10", "R@20", "R@100")
DEPTH, FIRST = 100, 10
CATALOGUES = ("zh_Hans", "zh_Hant", "ja", "ko", "th", "km", "my")
RUN = re.compile(
    "[\u0e00-\u0e4e\u1000-\u103f\u1780-\u17d3\u3041-\u30fa\u30fc\u4e00-\u9fff\uac00-\ud7a3]{5,}"
)
# With the signs and marks after it, and Khmer's and Burmese's joined consonants.
CHARACTER = re.compile(
    ".(?:[\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u102b-\u103e\u17b4-\u17d3]|(?<=[\u1039\u17d2]).)*"
)

Search = Callable[[str, int], Sequence[str]]
"""Query and k to document ids, best first."""


def main() -> None:
    """Print a line a collection and system, and the shares of queries that succeed."""
    options = _options()
    analyser = open_analyser(checked_choice(None, options.language).spec(None, ""))
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for path in options.collections:
            figures[path.name] = _collection(path, analyser, options.queries, Path(folder))
        if options.messages:
            figures["parts_of_words"] = _messages(options.messages, Path(folder))
    print(json.dumps(figures))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("collections", type=Path, nargs="*")
    parser.add_argument("--queries", type=int, default=400)
    parser.add_argument("--language", default="english")
    parser.add_argument("--messages", type=int, default=50)
    return parser.parse_args()


def _collection(path: Path, analyser: Analyser, count: int, folder: Path) -> dict[str, Any]:
    collection = open_collection(path)
    texts = {
        name: f"{document.title}\n{document.text}".strip()
        for name, document in collection.documents(None).items()
    }
    qrels = collection.qrels()
    queries = {name: text for name, text in collection.queries().items() if name in qrels}
    step = -(-len(queries) // count)
    asked = dict(list(queries.items())[::step])
    judged = {name: qrels[name] for name in asked}
    by_analyser, per_second = _by_analyser(texts, analyser, folder / f"{path.name}-analyser")
    systems = {
        "analyser": by_analyser,
        "default": _by_tokenizer(texts, folder / f"{path.name}-default"),
    }
    figures: dict[str, Any] = {"queries": len(asked), "documents_per_s": round(per_second)}
    for system, search in systems.items():
        started = time.perf_counter()
        run = {name: scores_by_rank(search(text, DEPTH)) for name, text in asked.items()}
        ms = (time.perf_counter() - started) / len(asked) * 1e3
        values = means(Evaluator(judged, MEASURES).per_query(run))
        figures[system] = {name: round(value, 4) for name, value in values.items()}
        print(f"{path.name}, {len(asked)} queries, {system}: {figures[system]}, {ms:.1f} ms")
    return figures


def _messages(count: int, folder: Path) -> dict[str, float]:
    messages = {str(number): text for number, text in enumerate(sorted(set(_catalogues())))}
    queries = _parts(messages, count)
    search, _ = _by_analyser(messages, open_analyser(AnalyserSpec()), folder / "messages-analyser")
    systems = {
        "analyser": search,
        "default": _by_tokenizer(messages, folder / "messages-default"),
        "icu": _by_tokenizer(messages, folder / "messages-icu", base_tokenizer="icu"),
    }
    shares = {}
    for system, ranked in systems.items():
        successes = [name in ranked(query, FIRST) for name, query in queries.items()]
        shares[system] = sum(successes) / len(successes)
        print(f"{len(queries)} parts of words in {len(messages):,} messages, {system}: "
              f"{shares[system]:.0%} succeed")  # fmt: skip
    return shares


def _catalogues() -> Iterator[str]:
    django = importlib.util.find_spec("django")
    if django is None or django.origin is None:
        raise SystemExit("the messages are those of Django: pip install django, or --messages 0")
    for language in CATALOGUES:
        for file in sorted(Path(django.origin).parent.rglob(f"locale/{language}/**/*.mo")):
            with file.open("rb") as body:
                catalogue: dict[Any, str] = vars(gettext.GNUTranslations(body))["_catalog"]
            yield from (text for name, text in catalogue.items() if name)


def _parts(messages: Mapping[str, str], count: int) -> dict[str, str]:
    """Message ids to parts of words in them, of two, three and four characters in turn.

    A vowel sign or a tone mark is not typed alone, so it is no character of its own here.
    """
    runs = [(name, run) for name, text in messages.items() if (run := RUN.search(text))]
    parts: dict[str, str] = {}
    step = max(1, len(runs) // (3 * count))
    for at, (name, run) in enumerate(runs[::step]):
        length, characters = 2 + at % 3, CHARACTER.findall(run[0])
        middle = (len(characters) - length) // 2
        part = "".join(characters[max(middle, 0) : middle + length])
        if 0 < sum(part in other for other in messages.values()) <= FIRST:
            parts[name] = part
    chosen = list(parts.items())
    return dict(chosen[:: max(1, len(chosen) // count)][:count])


def _by_analyser(texts: Mapping[str, str], analyser: Analyser, path: Path) -> tuple[Search, float]:
    """A search by the analyser's terms, and the documents that it analyses in a second."""
    started = time.perf_counter()
    terms = [analyser.document(searchable(text)) for text in texts.values()]
    per_second = len(texts) / (time.perf_counter() - started)
    columns = {TERMS: [line for line, _ in terms], EXACT_TERMS: [line for _, line in terms]}
    table = lance.write_dataset(pa.table({"id": list(texts), **columns}), str(path))
    index_terms(table)
    names = list(texts)

    def search(query: str, k: int) -> list[str]:
        scores = search_terms(table, analyser.query(query), k)
        return [names[row] for row in sorted(scores, key=lambda row: (-scores[row], row))][:k]

    return search, per_second


def _by_tokenizer(texts: Mapping[str, str], path: Path, **options: Any) -> Search:
    """A search as Lance does it by itself."""
    columns = {"id": list(texts), TERMS: list(map(searchable, texts.values()))}
    table = lance.write_dataset(pa.table(columns), str(path))
    table.create_scalar_index(TERMS, "INVERTED", with_position=False, **options)

    def search(query: str, k: int) -> list[str]:
        match = MatchQuery(searchable(query), TERMS)
        rows = table.scanner(columns=["id", "_score"], full_text_query=match, limit=k).to_table()
        scored = zip(rows["_score"].to_pylist(), rows["id"].to_pylist(), strict=True)
        return [name for _, name in sorted(scored, key=lambda pair: (-pair[0], pair[1]))]

    return search


if __name__ == "__main__":
    main()

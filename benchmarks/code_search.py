"""How well does the first stage find functions of source code, and how well does reranking order?

    python benchmarks/code_search.py [--as-text] [--systems lexical,dense] [--split dev]
                                     [--work FOLDER] [--pool FILE] [--misses FILE]

Fetches the corpus of `examples/code-questions` (13 packages, once), indexes its folder with
`Index.sync`, and asks all questions. A passage stands for the functions that it covers
(`code_functions.covered`); a ranking of functions has each where its first passage is. A passage
that covers no function counts as an unjudged one.

Recall and Success are of functions of grade 2, which have the answer; nDCG uses all grades. With
``--as-text`` the files get the suffix ``.txt``, for versions that read no source code. ``--pool``
writes the first ten functions of all systems, sorted by name, for judging; ``--misses`` writes the
questions whose function of grade 2 the first system does not find among 20. Last line of stdout:
JSON.
"""

import argparse
import json
import shutil
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from code_corpus import CorpusError, corpus
from code_functions import Functions, Lines, covered, functions, lines_of
from sync import RandomEmbedder

from resift.documents import Citation
from resift.evaluation.measures import Evaluator, means, scores_by_rank
from resift.evaluation.queries import read_queries
from resift.evaluation.trec import Qrels, read_qrels
from resift.search.index import Index

QUESTIONS = Path(__file__).parents[1] / "examples" / "code-questions"
SPLITS = ("dev", "test")
KINDS = {"i": "identifiers", "e": "error messages", "b": "behaviours"}
MEASURES = ("R(rel=2)@20", "R(rel=2)@100", "nDCG@10", "Success(rel=2)@3", "Judged@10")
SYSTEMS = ("lexical", "dense", "hybrid", "reranked")
DEPTH, POOLED = 100, 10
_TEXT = ".txt"

Run = dict[str, list[str]]
"""Query id → functions, best first."""


def main() -> None:
    """Print the measures of each system, for each kind of question and for all."""
    options = _options()
    queries = read_queries(QUESTIONS)
    qrels = {name: grades for split in options.split for name, grades in judged(split).items()}
    sources = corpus(options.work)
    tables = functions(sources)
    if gone := unknown(qrels, tables):
        raise CorpusError(f"judged, and not in the corpus: {', '.join(sorted(gone))}")
    index = _index(sources, options)
    asked = {name: text for name, text in queries.items() if options.pool or name in qrels}
    runs = {
        system: _ranked(_retriever(index, system), asked, sources, tables)
        for system in options.systems
    }
    if options.pool:
        options.pool.write_text(_pooled(runs.values(), queries), encoding="utf-8")
    if options.misses:
        options.misses.write_text(_missed(runs[options.systems[0]], queries, qrels), "utf-8")
    figures = {system: measures(run, qrels) for system, run in runs.items()}
    _show(figures)
    print(json.dumps({"as_text": options.as_text, "questions": len(qrels), **figures}))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--as-text", action="store_true")
    parser.add_argument("--systems", type=lambda text: text.split(","), default=list(SYSTEMS))
    parser.add_argument("--split", type=lambda text: text.split(","), default=list(SPLITS))
    parser.add_argument("--work", type=Path, default=Path(__file__).parent / ".work" / "code")
    parser.add_argument("--pool", type=Path)
    parser.add_argument("--misses", type=Path)
    return parser.parse_args()


def judged(split: str) -> Qrels:
    """The judgments of ``dev`` or ``test``."""
    return read_qrels(QUESTIONS / "qrels" / f"{split}.tsv")


def unknown(qrels: Qrels, tables: Functions) -> set[str]:
    """The judged functions that the corpus does not have."""
    known = {name for table in tables.values() for name in table}
    return {name for grades in qrels.values() for name in grades} - known


def _index(sources: Path, options: argparse.Namespace) -> Index:
    """A new index of the sources: other code may parse, cut and analyse otherwise."""
    documents = _as_text(sources, options.work / "text") if options.as_text else sources
    folder = options.work / "index"
    shutil.rmtree(folder, ignore_errors=True)
    lexical = set(options.systems) == {"lexical"}  # vectors take most of the time
    index = Index(str(folder), embedder=RandomEmbedder() if lexical else None)
    started = time.perf_counter()
    report = index.sync(str(documents))
    seconds = time.perf_counter() - started
    passages = index.versions()[-1].passages
    print(f"{report.added:,} files, {passages:,} passages, indexed in {seconds:.0f} s", flush=True)
    return index


def _as_text(sources: Path, folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    for path in sources.rglob("*"):
        if path.is_file():
            copy = folder / path.relative_to(sources)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy.with_name(copy.name + _TEXT))
    return folder


def _retriever(index: Index, system: str) -> Callable[[str], Iterable[Any]]:
    if system == "reranked":
        return partial(index.search, top_n=DEPTH, depth=DEPTH)
    return lambda query: index.retrieve(query, DEPTH, system).candidates  # type: ignore[arg-type]


def _ranked(
    retriever: Callable[[str], Iterable[Any]],
    queries: dict[str, str],
    sources: Path,
    tables: Functions,
) -> Run:
    texts: dict[str, str] = {}

    def functions_of(citation: Citation) -> list[str]:
        path = citation.doc_id.removesuffix(_TEXT)
        if path not in texts:
            texts[path] = (sources / path).read_bytes().decode()
        return covered_by(citation, texts[path], tables.get(path, {}))

    return {
        name: list(dict.fromkeys(f for row in retriever(text) for f in functions_of(row.citation)))
        for name, text in queries.items()
    }


def covered_by(citation: Citation, text: str, table: dict[str, Lines]) -> list[str]:
    """The functions of a passage of a file; ``PATH:LINE`` if it covers none."""
    lines = lines_of(text, citation.start, citation.end)
    path = citation.doc_id.removesuffix(_TEXT)
    return covered(table, lines) or [f"{path}:{lines.first}"]


def measures(run: Run, qrels: Qrels) -> dict[str, dict[str, float]]:
    """Kind of question, or ``all`` → measure → mean."""
    evaluator = Evaluator(qrels, MEASURES)
    scores = {name: scores_by_rank(ranked) for name, ranked in run.items()}
    per_query = evaluator.per_query(scores)
    figures = {}
    for kind, names in [*((label, prefix) for prefix, label in KINDS.items()), ("all", "")]:
        values = {
            measure: {name: value for name, value in row.items() if name.startswith(names)}
            for measure, row in per_query.items()
        }
        figures[kind] = {name: round(value, 4) for name, value in means(values).items()}
    return figures


def _pooled(runs: Iterable[Run], queries: dict[str, str]) -> str:
    """The first functions of all systems, without the system that found them, in JSON Lines."""
    runs = list(runs)
    pools = {
        name: sorted({each for run in runs for each in run[name][:POOLED] if "#" in each})
        for name in queries
    }
    return "".join(
        f"{json.dumps({'_id': name, 'text': queries[name], 'pool': pool}, ensure_ascii=False)}\n"
        for name, pool in pools.items()
    )


def _missed(run: Run, queries: dict[str, str], qrels: Qrels) -> str:
    lines = []
    for name, grades in qrels.items():
        for function in (function for function, grade in grades.items() if grade == 2):
            ranked = run[name]
            rank = ranked.index(function) + 1 if function in ranked else None
            if rank is None or rank > 20:
                lines.append(f"{name}\t{rank or '-'}\t{function}\t{queries[name]}\n")
    return "".join(lines)


def _show(figures: dict[str, dict[str, dict[str, float]]]) -> None:
    for system, kinds in figures.items():
        for kind, values in kinds.items():
            numbers = "  ".join(f"{name} {value:.3f}" for name, value in values.items())
            print(f"{system:9} {kind:15} {numbers}")


if __name__ == "__main__":
    main()

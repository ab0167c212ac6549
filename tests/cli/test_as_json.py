"""Proves that ``--json`` prints one JSON document that every reader takes, with a receipt."""

import json
from dataclasses import fields, replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

import numpy as np
import pytest

from cli.command import Resift
from resift import Hit, Ranking, Receipt, Reranker
from resift.cli import as_json

TEXTS = ["A bucket has an owner.", "Object lock keeps an object from being deleted."]


def strict(text: str) -> Any:
    def refuse(name: str) -> NoReturn:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.fixture(scope="module")
def ranking() -> Ranking:
    return Reranker().rank("what stops an object from being deleted", TEXTS)


def test_json_document_has_query_hits_and_receipt(ranking: Ranking) -> None:
    document = strict(as_json.text(as_json.document(ranking)))
    assert list(document) == ["format", "query", "hits", "receipt"]
    assert (document["format"], document["query"]) == (1, ranking.query)
    assert [list(hit) for hit in document["hits"]] == [[field.name for field in fields(Hit)]] * 2
    assert list(document["receipt"]) == [field.name for field in fields(Receipt)]
    assert document["receipt"]["timings_ms"]["total"] == ranking.receipt.timings_ms["total"]
    assert [hit["text"] for hit in document["hits"]] == [hit.text for hit in ranking]


class Odd:
    def __str__(self) -> str:
        return "odd"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (float("nan"), None),
        (float("-inf"), None),
        (np.float32(0.5), 0.5),
        (np.float64("nan"), None),
        (np.int64(7), 7),
        (np.bool_(True), True),
        (np.array([1.0, float("nan")]), [1.0, None]),
        (True, True),
        (10**400, 10**400),
        (Decimal("1.5"), "1.5"),
        (date(2026, 1, 2), "2026-01-02"),
        (b"caf\xe9", "caf\\xe9"),
        ({"a", }, ["a"]),
        (MappingProxyType({1: Odd(), None: (1, 2)}), {"1": "odd", "None": [1, 2]}),
        ("\udcff", "\udcff"),
    ],
    ids=range(15),
)  # fmt: skip
def test_odd_metadata_is_valid_json(ranking: Ranking, value: object, expected: object) -> None:
    hit = replace(ranking[0], metadata={"key": value})
    odd = replace(ranking, hits=(hit,), receipt=replace(ranking.receipt, padding_share=np.nan))
    document = strict(as_json.text(as_json.document(odd)))
    assert document["hits"][0]["metadata"]["key"] == expected
    assert document["receipt"]["padding_share"] is None


def test_endless_nesting_is_cut() -> None:
    nested: list[Any] = []
    nested.append(nested)
    assert strict(as_json.text({"key": nested}))


def test_json_reports_partial_and_empty_rankings(resift: Resift, tmp_path: Path) -> None:
    lines = tmp_path / "lines.txt"
    lines.write_text("\n".join(TEXTS))
    late = strict(resift("rerank", "-q", "deleted", lines, "--json", "--budget-ms", 0).out)
    assert late["receipt"]["partial"] and "time was up" in late["receipt"]["reason"]
    assert [hit["status"] for hit in late["hits"]] == ["late", "late"]
    lines.write_text("")
    empty = strict(resift("rerank", "-q", "deleted", lines, "--json").out)
    assert empty["hits"] == [] and empty["receipt"]["depth"] == 0


def test_json_lines_report_partial_on_stderr(resift: Resift, tmp_path: Path) -> None:
    lines = tmp_path / "lines.txt"
    lines.write_text("\n".join(TEXTS))
    done = resift("rerank", "-q", "deleted", lines, "--jsonl", "--budget-ms", 0)
    assert [row["text"] for row in done.rows] == TEXTS
    assert done.err.startswith("partial: time was up")
    error = resift("rerank", "-q", "deleted", lines, "--jsonl", "--json").error
    assert "--json and --jsonl" in error

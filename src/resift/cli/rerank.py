"""``resift rerank``: candidates on stdin or in a file, one a line."""

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from resift.cli.explanation import ExplainOption, Shape, print_answer
from resift.cli.options import (
    Abstain,
    AsJson,
    AsLines,
    BudgetMs,
    Calibration,
    Exact,
    FusionWeight,
    MinScore,
    Model,
)
from resift.cli.output import plain_warnings, say
from resift.errors import InputError
from resift.types import Candidate

STDIN = Path("-")


def rerank(
    query: Annotated[str, typer.Option("--query", "-q", help="What was searched for.")],
    file: Annotated[Path, typer.Argument(help="Candidates, one a line; - is stdin.")] = STDIN,
    top_n: Annotated[int | None, typer.Option(help="How many to print; all by default.")] = None,
    budget_ms: BudgetMs = None,
    model: Model = None,
    calibration: Calibration = None,
    exact: Exact = False,
    fusion_weight: FusionWeight = None,
    min_score: MinScore = None,
    abstain: Abstain = None,
    explain: ExplainOption = None,
    as_json: AsJson = False,
    as_lines: AsLines = False,
) -> None:
    """Rerank lines: plain text, or JSON objects with "text" and maybe "id", "title", "score"."""
    from resift.rerank.reranker import Reranker

    shape = Shape(as_json, as_lines, explain)
    candidates = list(read_candidates(file))
    reranker = Reranker(model, calibration=calibration)
    with plain_warnings():
        ranking = reranker.rank(
            query,
            candidates,
            top_n,
            budget_ms=budget_ms,
            exact=exact,
            fusion_weight=fusion_weight,
            min_score=min_score,
            abstain=abstain,
        )
    print_answer(ranking, shape)


def read_candidates(file: Path) -> Iterator[Candidate]:
    """Lines → candidates in order; blank lines are passed over.

    The first line decides: if it is a JSON object with a text, all lines are, and one that is
    not becomes a candidate that cannot be read (status ``not_text``), named on stderr.
    """
    lines = _lines(file)
    as_json: bool | None = None
    for number, line in lines:
        if as_json is None:
            as_json = _object(line) is not None
        if not as_json:
            yield Candidate(id=str(number), text=line)
            continue
        row = _object(line)
        if row is None:
            say(f'{file}:{number}: not a JSON object with a "text"; it is kept, unread')
            yield Candidate(id=str(number), text=None)  # type: ignore[arg-type]
        else:
            yield _candidate(number, row)


def _candidate(number: int, row: dict[str, Any]) -> Candidate:
    known = {"id", "_id", "text", "title", "score", "rank", "metadata"}
    score, rank, metadata = row.get("score"), row.get("rank"), row.get("metadata")
    extra = {key: value for key, value in row.items() if key not in known}
    return Candidate(
        id=str(row.get("id", row.get("_id", number))),
        text=row["text"],
        title=str(row.get("title") or ""),
        metadata=(metadata if isinstance(metadata, dict) else {}) | extra,
        rank=rank if isinstance(rank, int) else None,
        score=_finite(score),
    )


def _finite(value: Any) -> float | None:
    """A number that JSON can hold; Python's reader lets NaN and Infinity in as well."""
    try:
        number = float(value) if isinstance(value, int | float) else math.nan
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _object(line: str) -> dict[str, Any] | None:
    if not line.startswith("{"):
        return None
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and "text" in row else None


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines without blank ones; bytes that are no UTF-8 become surrogates."""
    try:
        stream = sys.stdin.buffer if file == STDIN else file.open("rb")
        with stream:
            for number, raw in enumerate(stream, 1):
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8", "surrogateescape")
                if line.strip():
                    yield number, line.strip()
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from error

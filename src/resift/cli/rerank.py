"""``resift rerank``: rerank candidates from stdin or a file, one per line."""

import json
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Annotated, Any

import typer

from resift.cli import options, streams
from resift.cli.output import plain_warnings, print_status, waiting
from resift.cli.ranking import ExplainOption, RankingFormat, print_ranking
from resift.errors import InputError
from resift.files import reason
from resift.inputs import chunks, open_input, split_lines
from resift.rerank.candidates import from_fields
from resift.types import Candidate

STDIN = Path("-")
_KEYS_SHOWN = 8
_HEAD = 10  # lines that decide whether a file is JSON Lines
_MAX_LINES, _MAX_BYTES = 1_000_000, 1 << 30  # endless input must not fill the memory
_BINARY_FORMATS = (
    (b"\xff\xfe\0\0", "UTF-32", "iconv -f UTF-32 -t UTF-8"),
    (b"\xff\xfe", "UTF-16", "iconv -f UTF-16 -t UTF-8"),
    (b"\xfe\xff", "UTF-16", "iconv -f UTF-16 -t UTF-8"),
    (b"\x1f\x8b", "gzip", "zcat FILE | resift rerank …"),
    (b"PK\x03\x04", "a zip archive", "unzip it"),
    (b"PAR1", "Parquet", "write its rows as JSON lines"),
    (b"%PDF-", "a PDF", "extract its text"),
)


def rerank(
    query: Annotated[str, typer.Option("--query", "-q", help="The query.")],
    file: Annotated[Path, typer.Argument(help="Candidates, one per line; - is stdin.")] = STDIN,
    top_n: Annotated[
        int | None, typer.Option(help="Number of hits to print.  [default: all]")
    ] = None,
    budget_ms: options.BudgetMs = None,
    model: options.Model = None,
    calibration: options.Calibration = None,
    exact: options.Exact = False,
    fusion_weight: options.FusionWeight = None,
    min_score: options.MinScore = None,
    abstain_below: options.Abstain = None,
    long_documents: options.ReadLong = options.LongDocuments.cut,
    explain: ExplainOption = None,
    text_field: Annotated[str, typer.Option(help="Field of the text in JSON lines.")] = "text",
    as_json: options.HitsAsJson = False,
    as_lines: options.AsLines = False,
) -> None:
    """Rerank lines: plain text, or JSON objects with "text" and optional "id", "title", "score"."""
    from resift.rerank.families.names import open_ranker

    output = RankingFormat(as_json, as_lines, explain, budget_ms)
    candidates = list(read_candidates(file, text_field))
    with waiting(f"reranking {len(candidates):,} candidates"), plain_warnings():
        reranker = open_ranker(model, calibration=calibration)
        ranking = reranker.rank(
            query,
            candidates,
            top_n,
            budget_ms=budget_ms,
            exact=exact,
            fusion_weight=fusion_weight,
            min_score=min_score,
            abstain_below=abstain_below,
            long_documents=long_documents.value,
        )
    print_ranking(ranking, output)


def read_candidates(file: Path, text_field: str = "text") -> Iterator[Candidate]:
    """Read candidates in order; blank lines are skipped.

    If at least half of the first lines are JSON objects, the file is JSON Lines: any other line,
    and an object without `text_field`, becomes a candidate with status ``not_text`` and is reported
    on stderr. Raises `InputError` if the first object has no `text_field`, and for other formats:
    one JSON document, UTF-16, compressed files.
    """
    numbered = _lines(file)
    head = list(islice(numbered, _HEAD))
    objects = [(number, row) for number, line in head if (row := _object(line)) is not None]
    is_json = bool(objects) and 2 * len(objects) >= len(head)
    if head:
        _refuse_document(f"{file}:{head[0][0]}", head[0][1])
    if is_json:
        _check_first(f"{file}:{objects[0][0]}", objects[0][1], text_field)
    parse = _json_line if is_json else _plain_line
    unexpected = 0
    for number, line in chain(head, numbered):
        unexpected += not is_json and _object(line) is not None
        yield parse(file, number, line, text_field)
    if unexpected:
        print_status(
            f"{file}: only {unexpected} lines are JSON objects, so all are read as plain text"
        )


def _plain_line(file: Path, number: int, line: str, text_field: str) -> Candidate:
    return Candidate(id=str(number), text=line)


def _json_line(file: Path, number: int, line: str, text_field: str) -> Candidate:
    row = _object(line)
    if row is not None and text_field in row:
        return from_fields(str(number), row, text_field)
    print_status(
        f'{file}:{number}: not a JSON object with a "{text_field}"; ranked last, without a score'
    )
    return Candidate(id=str(number), text=None)  # type: ignore[arg-type]


def _check_first(position: str, row: dict[str, Any], text_field: str) -> None:
    if text_field not in row:
        keys = ", ".join(f'"{key}"' for key in list(row)[:_KEYS_SHOWN])
        raise InputError(
            f'{position}: no "{text_field}" in this JSON object, which has {keys or "no fields"}; '
            "name the field of the text by --text-field"
        )


def _refuse_document(position: str, line: str) -> None:
    if line in ("{", "[") or _is_array(line):
        raise InputError(
            f"{position}: one JSON document, expected an object per line; convert it, "
            "for instance by  jq -c '.[]'"
        )


def _is_array(line: str) -> bool:
    """Whether a line begins a JSON array of objects or texts; "[1]" is a footnote mark."""
    if line.startswith(("[{", "[ {")):
        return True
    rows = _parsed(line) if line.startswith("[") else None
    return isinstance(rows, list) and any(isinstance(row, str | dict | list) for row in rows)


def _object(line: str) -> dict[str, Any] | None:
    row = _parsed(line) if line.startswith("{") else None
    return row if isinstance(row, dict) else None


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """Yield numbered lines that are not blank; bytes that are not UTF-8 become surrogates."""
    size = 0
    try:
        with streams.stdin() if file == STDIN else open_input(file) as stream:
            for number, raw in enumerate(split_lines(file, chunks(stream)), 1):
                if number == 1:
                    _check_bytes(file, raw)
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8", "surrogateescape")
                size += len(raw)
                if number > _MAX_LINES or size > _MAX_BYTES:
                    raise InputError(
                        f"{file}: more than {_MAX_LINES:,} lines or {_MAX_BYTES >> 20:,} MB of "
                        "candidates; expected the best of a first stage"
                    )
                if line.strip():
                    yield number, line.strip()
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({reason(error)})") from error


def _check_bytes(file: Path, first_line: bytes) -> None:
    """Raise `InputError` if the file begins like a binary format."""
    for beginning, kind, remedy in _BINARY_FORMATS:
        if first_line.startswith(beginning):
            raise InputError(f"{file}: {kind}, expected lines of UTF-8: {remedy}")
    head = first_line[:1000]
    if head.count(0) * 3 > len(head):
        raise InputError(f"{file}: not text, expected lines of UTF-8 (UTF-16 needs its mark)")

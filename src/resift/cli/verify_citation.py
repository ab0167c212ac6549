"""``resift verify-citation``: check that a source still contains the cited passage."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Annotated, Any

import typer

from resift.cli import streams
from resift.cli.options import AsJson, IndexUri
from resift.cli.output import print_json, print_line, waiting
from resift.errors import InputError
from resift.files import reason
from resift.index.claims import Verdict
from resift.inputs import open_input, read_all

MAX_BYTES = 256 << 20
"""Largest input; a thousand times the output of a search."""

Item = Mapping[str, Any] | str | Verdict
"""A hit, a passage id, or the verdict on input that is neither."""


def verify_citation(
    passages: Annotated[
        list[str],
        typer.Argument(
            help="Passage ids, or a file with output of `resift search --json`; - is stdin."
        ),
    ],
    uri: IndexUri,
    version: Annotated[
        int | None, typer.Option(help="Version of the index that was searched.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Read the sources of passages again and print a verdict for each; exit 1 if one fails.

    A hit, or a source of a context, is verified by its text, position and ETag; an id by the
    passage in the index.
    """
    from resift.search.index import Index

    index = Index(uri, version=version)
    items = [item for argument in passages for item in _items(argument)]
    citations = [item for item in items if not isinstance(item, Verdict)]
    with waiting(f"reading the sources of {len(citations):,} passages"):
        checked = iter(index.verify_citations(citations))
    verdicts = [item if isinstance(item, Verdict) else next(checked) for item in items]
    if as_json:
        print_json([asdict(verdict) for verdict in verdicts])
    else:
        for verdict in verdicts:
            print_line(f"{verdict.status}  {verdict.passage_id}: {verdict.detail}")
    if not all(verdict.is_confirmed for verdict in verdicts):
        raise typer.Exit(1)


def _items(argument: str) -> Iterator[Item]:
    name = "stdin" if argument == "-" else argument
    if argument != "-" and (not os.path.exists(argument) or os.path.isdir(argument)):
        yield argument
        return
    try:
        with streams.stdin() if argument == "-" else open_input(argument) as stream:
            data = read_all(name, stream, MAX_BYTES)
    except OSError as error:
        raise InputError(f"{name}: cannot be read ({reason(error)})") from error
    if not data.strip():
        raise InputError(f"{name}: expected hits of `resift search --json`, got nothing")
    try:
        yield from _hits(json.loads(data), name)
    except (ValueError, RecursionError):  # not one document, but lines
        for number, line in enumerate(data.splitlines(), start=1):
            if line.strip():
                yield from _line(line, f"line {number}")


def _line(line: bytes, name: str) -> Iterator[Item]:
    if not line.lstrip().startswith((b"{", b"[", b'"')):
        try:
            yield line.decode().strip()  # an id
        except UnicodeDecodeError:
            yield _malformed(name)
        return
    try:
        yield from _hits(json.loads(line), name)
    except (ValueError, RecursionError):
        yield _malformed(name)


def _hits(value: Any, name: str) -> Iterator[Item]:
    """Yield the hits of a JSON value: a search's document, a context, a list of hits, or a hit.

    Of a document with a context, its sources follow the hits.
    """
    if isinstance(value, dict) and isinstance(value.get("hits"), list):
        context = value.get("context")
        sources = context.get("sources") if isinstance(context, dict) else None
        value = [*value["hits"], *(sources if isinstance(sources, list) else [])]
    elif isinstance(value, dict) and isinstance(value.get("sources"), list):
        value = value["sources"]
    if isinstance(value, list):
        for number, hit in enumerate(value, start=1):
            yield from _hit(hit, f"{name}, hit {number}")
    else:
        yield from _hit(value, name)


def _hit(value: Any, name: str) -> Iterator[Item]:
    if isinstance(value, dict) and isinstance(value.get("id"), str):
        yield value if "text" in value else value["id"]
    elif isinstance(value, str):
        yield value
    elif not (isinstance(value, dict) and "receipt" in value):  # a search's last line
        yield _malformed(name)


def _malformed(name: str) -> Verdict:
    return Verdict(name, "", "malformed", "expected a hit of `resift search --json`, with its id")

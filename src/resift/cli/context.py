"""Print the context of a ranking: its text, or JSON with its sources."""

from typing import Annotated

import typer

from resift.cli import as_json
from resift.cli.output import print_json, print_line, print_note, print_status
from resift.cli.ranking import RankingFormat, receipt_line
from resift.errors import InputError
from resift.plain_json import plain
from resift.types import Context, Ranking

ContextTokens = Annotated[
    int | None,
    typer.Option(
        "--context",
        metavar="TOKENS",
        help="Print the hits, grown by their neighbours, as a text of at most so many tokens for a "
        "language model, with numbered citations.",
    ),
]
Tokenizer = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Count --context with this tokenizer.json, folder with one, or hub id.",
    ),
]


def check_context(tokens: int | None, tokenizer: str | None, output: RankingFormat) -> None:
    """Raise `InputError` for options that exclude each other, before anything is searched."""
    if tokens is None:
        if tokenizer is not None:
            raise InputError("--tokenizer: has no effect without --context; leave it out")
    elif tokens < 1:
        raise InputError(f"--context {tokens}: expected a number of tokens from 1")
    elif output.as_lines or output.explain is not None:
        other = "--jsonl" if output.as_lines else "--explain"
        raise InputError(f"--context and {other}: expected one of them; leave one out")


def print_context(
    ranking: Ranking, tokens: int, tokenizer: str | None, *, is_json: bool = False
) -> None:
    """Print the context of a ranking on stdout, and its receipt on stderr."""
    context = ranking.context(tokens, tokenizer=tokenizer)
    if is_json:
        print_json({**as_json.document(ranking), "context": plain(context)})
    elif context.text:
        for line in context.text.split("\n"):
            print_line(line)
    else:
        print_status("nothing to show")
    print_note(f"{context_line(context)} · {receipt_line(ranking)}", style="dim")


def context_line(context: Context) -> str:
    """What a context has and what it leaves out, as one line."""
    sources = len(context.sources)
    parts = [f"{context.tokens:,} tokens of {sources} {'source' if sources == 1 else 'sources'}"]
    optional = (
        (
            context.left_out,
            f"{context.left_out} {'hit' if context.left_out == 1 else 'hits'} did not fit",
        ),
        (context.same_text, f"{context.same_text} with the same text"),
    )
    parts += [part for is_shown, part in optional if is_shown]
    return " · ".join([*parts, *context.notes])

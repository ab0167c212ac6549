"""The command with its verbs."""

import inspect
from pathlib import Path
from typing import Any, get_args, get_type_hints

import typer
from typer.core import TyperCommand

from resift.cli import (
    calibrate,
    convert,
    demo,
    eval,
    index,
    judge,
    maintenance,
    mcp,
    models,
    plan,
    rerank,
    rerank_run,
    search,
    serve,
    train,
    verify,
    verify_citation,
)
from resift.errors import InputError

_NAMES = {"uri", "source", "folder", "checkpoint", "base", "embedder", "name", "revision", "label"}
"""Text parameters that name a folder, index, model or embedder."""


class Verb(TyperCommand):
    """A typer command that refuses an empty name, such as the value of an unset shell variable.

    `Path("")` would be the current folder. Brackets in help are text, not markup of rich.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        for parameter in self.params:
            if text := getattr(parameter, "help", None):
                parameter.help = text.replace("[", r"\[")  # type: ignore[attr-defined]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Raise `InputError` for an empty name; otherwise parse as typer does."""
        parsed, _, _ = self.make_parser(ctx).parse_args(list(args))
        kinds = get_type_hints(inspect.unwrap(self.callback)) if self.callback else {}
        for parameter in self.get_params(ctx):
            kind, value = kinds.get(parameter.name or ""), parsed.get(parameter.name or "")
            values = value if isinstance(value, list | tuple) else (value,)
            is_path = kind is Path or Path in get_args(kind)
            if "" in values and (is_path or parameter.name in _NAMES):
                option = parameter.opts[0]
                name = option if option.startswith("-") else option.upper()
                expected = "the name of a file or folder" if is_path else "a name"
                raise InputError(f'{name} "": expected {expected}, got none')
        return super().parse_args(ctx, args)


app = typer.Typer(
    name="resift",
    help="The second pass of a search: puts candidates in the right order, on this CPU, offline.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command("demo", cls=Verb)(demo.demo)
app.command("index", cls=Verb)(index.index)
app.command("search", cls=Verb)(search.search)
app.command("serve", cls=Verb)(serve.serve)
app.command("mcp", cls=Verb)(mcp.mcp)
app.command("versions", cls=Verb)(maintenance.versions)
app.command("rollback", cls=Verb)(maintenance.rollback)
app.command("cleanup", cls=Verb)(maintenance.cleanup)
app.command("verify-citation", cls=Verb)(verify_citation.verify_citation)
app.command("rerank", cls=Verb)(rerank.rerank)
app.command("rerank-run", cls=Verb)(rerank_run.rerank_run)
app.command("calibrate", cls=Verb)(calibrate.calibrate)
app.command("eval", cls=Verb)(eval.evaluate)
app.command("judge", cls=Verb)(judge.judge)
models.app.command("fetch", cls=Verb)(models.fetch)
models.app.command("remove", cls=Verb)(models.remove)
app.add_typer(models.app, name="models")
app.command("verify", cls=Verb)(verify.verify)
app.command("doctor", cls=Verb)(maintenance.doctor)
app.command("plan", cls=Verb)(plan.plan)
app.command("convert", cls=Verb)(convert.convert)
app.command("train", cls=Verb)(train.train)


@app.callback(invoke_without_command=True)
def version(
    ctx: typer.Context,
    show: bool = typer.Option(False, "--version", help="Print the version and exit."),
) -> None:
    """Rerank candidates, or index documents and search them in two stages."""
    if show:
        import resift

        typer.echo(resift.__version__)
        raise typer.Exit()
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())
        raise typer.Exit(2)

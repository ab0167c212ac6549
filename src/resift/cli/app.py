"""The verbs of the command, and its completion in shells."""

import typer

from resift.cli import (
    calibrate,
    convert,
    demo,
    doctor,
    eval,
    index,
    judge,
    models,
    rerank,
    rerank_run,
    search,
    train,
    verify,
    verify_citation,
    versions,
)
from resift.cli.verb import Verb

app = typer.Typer(
    name="resift",
    help="The second pass of a search: puts candidates in the right order, on this CPU, offline.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command("demo", cls=Verb)(demo.demo)
app.command("index", cls=Verb)(index.index)
app.command("search", cls=Verb)(search.search)
app.command("versions", cls=Verb)(versions.versions)
app.command("rollback", cls=Verb)(versions.rollback)
app.command("cleanup", cls=Verb)(versions.cleanup)
app.command("verify-citation", cls=Verb)(verify_citation.verify_citation)
app.command("rerank", cls=Verb)(rerank.rerank)
app.command("rerank-run", cls=Verb)(rerank_run.rerank_run)
app.command("calibrate", cls=Verb)(calibrate.calibrate)
app.command("eval", cls=Verb)(eval.evaluate)
app.command("judge", cls=Verb)(judge.judge)
app.command("models", cls=Verb)(models.models)
app.command("verify", cls=Verb)(verify.verify)
app.command("doctor", cls=Verb)(doctor.doctor)
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

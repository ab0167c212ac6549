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

app = typer.Typer(
    name="resift",
    help="The second pass of a search: puts candidates in the right order, on this CPU, offline.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command("demo")(demo.demo)
app.command("index")(index.index)
app.command("search")(search.search)
app.command("versions")(versions.versions)
app.command("rollback")(versions.rollback)
app.command("cleanup")(versions.cleanup)
app.command("verify-citation")(verify_citation.verify_citation)
app.command("rerank")(rerank.rerank)
app.command("rerank-run")(rerank_run.rerank_run)
app.command("calibrate")(calibrate.calibrate)
app.command("eval")(eval.evaluate)
app.command("judge")(judge.judge)
app.command("models")(models.models)
app.command("verify")(verify.verify)
app.command("doctor")(doctor.doctor)
app.command("convert")(convert.convert)
app.command("train")(train.train)


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

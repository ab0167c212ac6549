"""``resift serve``: reranking and search over HTTP."""

from pathlib import Path
from typing import Annotated

import typer

from resift.cli import options
from resift.extras import require


def serve(
    model: options.Models = None,
    index: options.Indexes = None,
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 is all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen at; 0 is any free one.")] = 8080,
    keys: Annotated[
        Path | None, typer.Option(help="File with the keys of callers, one a line.")
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate chain, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key, PEM.")] = None,
    workers: Annotated[int, typer.Option(help="Processes; each loads all models.")] = 1,
    max_queue_tokens: Annotated[
        int, typer.Option(help="Refuse a request when so many tokens are waiting.")
    ] = 500_000,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(help="Another name of this server, behind a proxy; may be repeated."),
    ] = None,
) -> None:
    """Serve models and indexes over HTTP, in the dialects of other rerankers."""
    server = require("resift.serve.server", "serve")
    serve_options = server.ServeOptions(
        models=tuple(model or ()),
        indexes=tuple(index or ()),
        host=host,
        port=port,
        keys=keys,
        tls_cert=tls_cert,
        tls_key=tls_key,
        workers=workers,
        max_queue_tokens=max_queue_tokens,
        allowed_hosts=tuple(allowed_host or ()),
    )
    raise typer.Exit(server.serve(serve_options, typer.echo))

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
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Serve from a Ray cluster: auto, HOST:PORT, ray://HOST:PORT, or local for a new "
            "one of this machine. Deletes what it has deployed at the end.",
        ),
    ] = None,
    replicas: Annotated[
        str | None,
        typer.Option(
            metavar="N or MIN:MAX",
            help="With --ray: copies of the server; between two bounds, as many as the queue "
            "needs.  [default: 1]",
        ),
    ] = None,
    replica_cpus: Annotated[
        int | None,
        typer.Option(help="With --ray: CPUs and threads of each replica.  [default: 1]"),
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
    if ray is None:
        options.refuse_pointless("only with --ray", replicas=replicas, replica_cpus=replica_cpus)
        raise typer.Exit(server.serve(serve_options, typer.echo))
    options.quiet_ray()
    cluster = require("resift.jobs.serve", "ray")
    replica_options = cluster.ReplicaOptions.parse(
        "1" if replicas is None else replicas, 1 if replica_cpus is None else replica_cpus
    )
    raise typer.Exit(cluster.serve_on_cluster(serve_options, ray, replica_options, typer.echo))

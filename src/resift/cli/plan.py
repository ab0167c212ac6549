"""``resift plan``: what an index of any size takes, from unit costs and prices."""

from pathlib import Path
from typing import Annotated

import typer

from resift.cli.options import AsJson
from resift.cli.output import print_json
from resift.cli.plan_text import print_plan


def _show_prices(show: bool) -> None:
    if show:
        from resift.planning.prices import bundled_prices

        typer.echo(bundled_prices(), nl=False)
        raise typer.Exit()


def plan(
    passages: Annotated[float, typer.Option(help="Passages of the index, such as 1e9.")],
    qps: Annotated[float, typer.Option(help="Queries a second.")],
    depth: Annotated[
        int | None, typer.Option(help="Candidates that are reranked.  [default: 100]")
    ] = None,
    p95_ms: Annotated[float, typer.Option(help="95th percentile of a search, in ms.")] = 500.0,
    words: Annotated[float, typer.Option(help="Words of a passage.")] = 90.0,
    changes: Annotated[
        float | None,
        typer.Option(help="Passages that change a day.  [default: a thousandth of all]"),
    ] = None,
    syncs: Annotated[float, typer.Option(help="Syncs a day.")] = 1.0,
    copies: Annotated[int, typer.Option(help="Machines that serve each passage, at least.")] = 2,
    shard_passages: Annotated[
        float, typer.Option(help="Passages of a shard, at most.")
    ] = 1_000_000,
    workers: Annotated[
        int | None,
        typer.Option(help="Cores that build the index.  [default: as many as take a day]"),
    ] = None,
    token_states: Annotated[
        bool, typer.Option("--token-states", help="Store token states beside the passages.")
    ] = False,
    costs: Annotated[
        Path | None, typer.Option(help="Unit costs that benchmarks/unit_costs.py has printed.")
    ] = None,
    prices: Annotated[
        Path | None, typer.Option(help="Price table in TOML; --show-prices prints an example.")
    ] = None,
    show_prices: Annotated[
        bool,
        typer.Option(
            "--show-prices",
            callback=_show_prices,
            is_eager=True,
            help="Print the example price table and exit.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print cores, memory, storage, requests and dollars of an index, by stage."""
    from resift.planning.costs import read_costs
    from resift.planning.plan import make_plan
    from resift.planning.prices import read_prices
    from resift.planning.targets import Targets
    from resift.types import DEPTH

    targets = Targets(
        passages=passages,
        qps=qps,
        depth=DEPTH if depth is None else depth,
        p95_ms=p95_ms,
        words=words,
        changes=changes,
        syncs=syncs,
        copies=copies,
        shard_passages=shard_passages,
        workers=workers,
        token_states=token_states,
    )
    result = make_plan(targets, read_costs(costs), read_prices(prices))
    if as_json:
        print_json(result)
    else:
        print_plan(result)

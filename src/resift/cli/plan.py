"""``resift plan``: what an index of any size takes, from unit costs and prices."""

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from resift.cli.options import AsJson
from resift.cli.output import print_json
from resift.cli.plan_text import print_plan
from resift.types import DEPTH

_DIGIT_GROUPS = re.compile(r"[-+]?\d{1,3}(,\d{3})+(\.\d*)?")
"""A number in whose whole part commas divide thousands."""


def _number(typed: object) -> float:
    """Read 1000000, 1,000,000 or 1e6, or a default; whole numbers are int."""
    text = str(typed)
    try:
        value = float(text.replace(",", "") if _DIGIT_GROUPS.fullmatch(text) else text)
    except ValueError:
        raise typer.BadParameter(f"{text!r}: expected a number, such as 1e6 or 1,000,000") from None
    return int(value) if value.is_integer() and abs(value) < 1e18 else value


def _numeric(help: str) -> Any:
    return typer.Option(parser=_number, metavar="NUMBER", help=help)


def _show_prices(show: bool) -> None:
    if show:
        from resift.planning.prices import bundled_prices

        typer.echo(bundled_prices(), nl=False)
        raise typer.Exit()


def plan(
    passages: Annotated[float, _numeric("Passages of the index, such as 1e9.")],
    qps: Annotated[float, _numeric("Queries a second.")],
    depth: Annotated[int, typer.Option(help="Candidates that are reranked.")] = DEPTH,
    p95_ms: Annotated[float, _numeric("95th percentile of a search, in ms.")] = 500,
    words: Annotated[float, _numeric("Words of a passage.")] = 90,
    changes: Annotated[
        float | None,
        _numeric("Passages that change a day.  [default: a thousandth of all]"),
    ] = None,
    syncs: Annotated[float, _numeric("Syncs a day.")] = 1,
    copies: Annotated[int, typer.Option(help="Machines that serve each passage, at least.")] = 2,
    shard_passages: Annotated[float, _numeric("Passages of a shard, at most.")] = 1_000_000,
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

    targets = Targets(
        passages=passages,
        qps=qps,
        depth=depth,
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

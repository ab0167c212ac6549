"""``resift search``: search an index in two stages."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from resift.cli import options
from resift.cli.context import ContextTokens, Tokenizer, check_context, print_context
from resift.cli.hit_files import check_open, open_hit
from resift.cli.marks import LANGUAGE
from resift.cli.output import plain_warnings, waiting
from resift.cli.ranking import ExplainOption, RankingFormat, print_ranking
from resift.types import DEPTH

if TYPE_CHECKING:
    from resift.search.index import Index


def search(
    query: Annotated[str, typer.Argument(help="The query.")],
    uri: options.IndexUri,
    top_n: Annotated[int, typer.Option(help="Number of hits to print.")] = 10,
    depth: Annotated[
        int, typer.Option(help="Number of candidates to rerank, at least --top-n.")
    ] = DEPTH,
    budget_ms: options.BudgetMs = None,
    mode: Annotated[options.Mode, typer.Option(help="Retrievers to use.")] = options.Mode.hybrid,
    no_rerank: Annotated[bool, typer.Option("--no-rerank", help="First stage only.")] = False,
    where: Annotated[
        str | None,
        typer.Option(help="Filter passages, for instance \"lang = 'en' and year >= 2020\"."),
    ] = None,
    version: Annotated[int | None, typer.Option(help="An older version of the index.")] = None,
    max_requests: Annotated[
        int | None, typer.Option(help="Send at most about this many requests to the store.")
    ] = None,
    model: options.Model = None,
    calibration: options.Calibration = None,
    exact: options.Exact = False,
    fusion_weight: options.FusionWeight = None,
    min_score: options.MinScore = None,
    abstain_below: options.Abstain = None,
    long_documents: options.ReadLong = options.LongDocuments.cut,
    collapse: options.CollapseTo = None,
    context: ContextTokens = None,
    tokenizer: Tokenizer = None,
    explain: ExplainOption = None,
    open_rank: Annotated[
        int | None,
        typer.Option("--open", metavar="N", help="Open the file of hit N in the system's viewer."),
    ] = None,
    as_json: options.HitsAsJson = False,
    as_lines: options.AsLines = False,
) -> None:
    """Search an index: retrieve, fuse, rerank."""
    from resift.rerank.options import checked_budget
    from resift.search.index import Index

    rank_options: dict[str, Any] = {
        "exact": exact,
        "fusion_weight": fusion_weight,
        "min_score": min_score,
        "abstain_below": abstain_below,
    }
    if no_rerank:
        options.refuse_pointless(
            "has no effect without reranking; leave out --no-rerank, or it",
            model=model,
            calibration=calibration,
            explain=explain,
            long_documents=None if long_documents == "cut" else long_documents,
            **rank_options,
        )
    output = RankingFormat(as_json, as_lines, explain, budget_ms)
    check_open(open_rank)
    check_context(context, tokenizer, output)
    index = Index(uri, version=version, settings=options.settings_with(model, calibration))
    with plain_warnings(), waiting("searching"):
        if checked_budget(budget_ms) is not None:
            # The budget excludes the time to load the models.
            index.load(mode.value, rerank=not no_rerank)
        ranking = index.search(
            query,
            top_n,
            depth,
            mode.value,
            rerank=not no_rerank,
            budget_ms=budget_ms,
            where=where,
            max_requests=max_requests,
            long_documents=long_documents.value,
            collapse=None if collapse is None else "document",
            **rank_options,
        )
    if context is None:
        print_ranking(ranking, output, _language(index))
    else:
        print_context(ranking, context, tokenizer, is_json=as_json)
    if open_rank is not None:
        open_hit(ranking, open_rank)


def _language(index: "Index") -> str:
    """The language of the stems in the version that was searched."""
    return index.opened.analyser.language if index.opened else LANGUAGE

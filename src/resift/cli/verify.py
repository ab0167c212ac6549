"""``resift verify``: hashes, and the model's own reference logits on this machine."""

from dataclasses import asdict
from typing import Annotated

import typer

from resift.cli.output import console, print_json


def verify(
    model: Annotated[
        str | None, typer.Argument(help="Artifact folder; bundled by default.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Check that a model gives here the logits that it gave where it was made."""
    from resift.rerank.reranker import Reranker

    result = Reranker(model).verify()
    if as_json:
        print_json(asdict(result))
        return
    console.print(
        f"{result.model}: files match their hashes; {result.pairs} reference logits on "
        f"{result.runtime} within {result.max_difference:.5f} (allowed {result.tolerance}), "
        f"within {result.max_difference_fp32:.4f} of float32",
        soft_wrap=True,
    )

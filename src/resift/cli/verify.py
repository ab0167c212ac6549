"""``resift verify``: check file hashes, graphs, and reference scores on this machine."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resift.cli.options import AsJson, Model
from resift.cli.output import console, print_json, waiting
from resift.errors import InputError
from resift.settings import Settings

if TYPE_CHECKING:
    from resift.rerank.verify import Verification


def verify(
    folder: Annotated[
        str | None, typer.Argument(help="Artifact folder; the same as --model.")
    ] = None,
    model: Model = None,
    as_json: AsJson = False,
) -> None:
    """Check that a model gives its reference scores on this machine."""
    from resift.rerank.artifact import load_artifact
    from resift.rerank.catalogue import resolve

    if folder is not None and model is not None:
        raise InputError(f"{folder} and --model {model}: expected one of them; leave one out")
    name = folder or model or Settings.load().model
    with waiting("verifying the model"):
        artifact = resolve(name)
        is_embedder = load_artifact(artifact).manifest.kind == "embedder"
        result = _verify_embedder(artifact) if is_embedder else _verify_reranker(name)
    if as_json:
        print_json(asdict(result))
        return
    lines = [("files", "match their hashes")]
    lines += [(check.name, str(check)) for check in result.checks]
    for name, line in lines:
        console.print(f"ok  {name:10} {line}", soft_wrap=True, markup=False)
    console.print(
        f"{result.model} {result.fingerprint}: {result.pairs} reference "
        f"{'cosines' if is_embedder else 'logits'} on {result.runtime}",
        soft_wrap=True,
        markup=False,
    )


def _verify_reranker(model: str | None) -> "Verification":
    from resift.rerank.reranker import Reranker

    return Reranker(model).verify()


def _verify_embedder(folder: Path) -> "Verification":
    from resift.index.embedders.artifact import ArtifactEmbedder

    return ArtifactEmbedder(folder, Settings.load()).verify()

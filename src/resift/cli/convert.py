"""``resift convert``: a transformers or sentence-transformers checkpoint → an artifact."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resift.cli.output import console, waiting

if TYPE_CHECKING:
    from resift.convert.output import Conversion


def convert(
    checkpoint: Annotated[str, typer.Argument(help="Checkpoint folder, or a hub id.")],
    out: Annotated[Path, typer.Argument(help="New folder for the artifact.")],
    revision: Annotated[
        str | None, typer.Option(help="Commit, branch or tag of a hub checkpoint.")
    ] = None,
    texts: Annotated[
        Path | None,
        typer.Option(help='JSON lines with "query" and "text", to measure activation ranges.'),
    ] = None,
    exits: Annotated[
        str | None,
        typer.Option(help="Numbers of layers after which candidates can be pruned, such as 2,4."),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(help="Name or number of the label that means relevance, of several."),
    ] = None,
    query_prompt: Annotated[
        str | None, typer.Option(help="Text before an embedder's queries, instead of its own.")
    ] = None,
    passage_prompt: Annotated[
        str | None, typer.Option(help="Text before an embedder's passages, instead of its own.")
    ] = None,
    fp32: Annotated[bool, typer.Option("--fp32", help="Keep float32 weights.")] = False,
) -> None:
    """Convert a cross-encoder or a bi-encoder to an artifact. Needs the hub extra."""
    from resift.extras import require

    layers = _layers(exits)
    convert_folder = require("resift.convert.convert", "hub").convert_folder
    with waiting(f"converting {checkpoint}"):
        folder, commit = _folder(checkpoint, revision)
        result = convert_folder(
            folder,
            out,
            name=checkpoint,
            revision=commit,
            texts=texts,
            int8=not fp32,
            exits=layers,
            label=label,
            prompts=(query_prompt, passage_prompt),
        )
    _print_conversion(result, out, layers)


def _print_conversion(result: "Conversion", out: Path, layers: list[int]) -> None:
    from rich.markup import escape

    numbers = "cosines" if result.similarity else "logits"
    console.print(
        f"{escape(str(out))}: {result.quantisation}; {numbers} within "
        f"{result.max_difference:.4f} of float32 over {result.pairs} held-out "
        f"pairs, {result.megabytes:.0f} MB",
        soft_wrap=True,
    )
    if result.report is not None and result.report.float_layers:
        console.print(f"{len(result.report.float_layers)} layers stay in float32", soft_wrap=True)
    if result.similarity:
        mean, lowest = result.similarity
        console.print(
            f"vectors: mean cosine with the checkpoint's {mean:.4f}, lowest {lowest:.4f}",
            soft_wrap=True,
        )
    for layer, share in zip(layers, result.explained, strict=True):
        console.print(
            f"exit after {layer} layers: explains {share:.0%} of the variance of the final logits",
            soft_wrap=True,
        )


def _folder(checkpoint: str, revision: str | None) -> tuple[Path, str | None]:
    """The folder of a checkpoint, and its commit if it is fetched from the hub."""
    from resift.errors import InputError
    from resift.extras import require
    from resift.files import from_home
    from resift.rerank.catalogue import checked_hub_id

    folder = from_home(checkpoint)
    if folder.is_dir():
        if revision is not None:
            raise InputError(f"--revision {revision}: {checkpoint} is a folder; leave it out")
        return folder, None
    hub = require("resift.convert.hub", "hub")
    repository = hub.open_repository(checked_hub_id(checkpoint), revision)
    return hub.fetch(repository, None), repository.commit


def _layers(exits: str | None) -> list[int]:
    from resift.errors import InputError

    try:
        return [int(part) for part in exits.split(",")] if exits is not None else []
    except ValueError as error:
        raise InputError(
            f"--exits {exits}: expected numbers of layers separated by commas, such as 2,4"
        ) from error

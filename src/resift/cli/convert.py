"""``resift convert``: a transformers or sentence-transformers checkpoint → an artifact."""

from pathlib import Path
from typing import Annotated

import typer

from resift.cli.output import console, errors


def convert(
    checkpoint: Annotated[str, typer.Argument(help="Checkpoint folder, or a hub id.")],
    out: Annotated[Path, typer.Argument(help="New folder for the artifact.")],
    revision: Annotated[
        str | None, typer.Option(help="Commit of a hub checkpoint; needed for a hub id.")
    ] = None,
    texts: Annotated[
        Path | None,
        typer.Option(help='JSON lines with "query" and "text", to measure activation ranges.'),
    ] = None,
    exits: Annotated[
        str | None,
        typer.Option(help="Numbers of layers after which candidates can be pruned, such as 2,4."),
    ] = None,
    fp32: Annotated[bool, typer.Option("--fp32", help="Keep float32 weights.")] = False,
) -> None:
    """Convert a cross-encoder or a bi-encoder to an artifact. Needs the convert extra."""
    from resift.extras import require

    require("torch", "convert")
    require("onnx", "convert")
    from rich.markup import escape

    from resift.training.checkpoint import convert_checkpoint

    with errors.status(f"converting {escape(checkpoint)}"):
        layers = _layers(exits)
        result = convert_checkpoint(checkpoint, out, revision, texts, int8=not fp32, exits=layers)
    numbers = "cosines" if result.similarity else "logits"
    console.print(
        f"{escape(str(out))}: {result.quantisation}; {numbers} within "
        f"{result.max_difference:.4f} of the checkpoint's over {result.pairs} held-out "
        f"pairs, {result.megabytes:.0f} MB",
        soft_wrap=True,
    )
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


def _layers(exits: str | None) -> list[int]:
    from resift.errors import InputError

    try:
        return [int(part) for part in exits.split(",")] if exits is not None else []
    except ValueError as error:
        raise InputError(
            f"--exits {exits}: expected numbers of layers separated by commas, such as 2,4"
        ) from error

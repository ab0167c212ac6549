"""``resift train``: fine-tune a model on your own pairs or judgments."""

import math
from pathlib import Path
from typing import Annotated

import typer

from resift.cli.output import console, errors, waiting


def train(
    pairs: Annotated[
        Path,
        typer.Option(
            help='JSON lines with "query", "positive", maybe "negatives"; or a judged BEIR folder.'
        ),
    ],
    out: Annotated[Path, typer.Option(help="New folder for the model.")],
    run: Annotated[
        Path | None,
        typer.Option(
            help="Run of a teacher over the BEIR folder, by rerank-run with --fusion-weight 0; "
            "labels documents instead of its judgments."
        ),
    ] = None,
    base: Annotated[
        str,
        typer.Option(help="Model to start from: bundled, or the folder of another model."),
    ] = "bundled",
    work: Annotated[
        Path | None, typer.Option(help="Folder for the state of the run, to resume a killed run.")
    ] = None,
    epochs: Annotated[
        float, typer.Option(help="Passes over the queries; at least 40 steps are run.")
    ] = 3.0,
) -> None:
    """Fine-tune a model; it is written only if it is better. Needs the train extra."""
    from resift.errors import InputError
    from resift.extras import require

    if not (epochs > 0 and math.isfinite(epochs)):
        raise InputError(f"--epochs {epochs}: expected a number above 0")
    for module in ("torch", "onnx", "bm25s", "Stemmer"):
        require(module, "train")
    from rich.markup import escape

    from resift.training.finetune import fine_tune
    from resift.training.teacher_run import TeacherRun

    def progress(text: str) -> None:
        errors.print(text, markup=False)

    with waiting("training"):
        data = pairs if run is None else TeacherRun(pairs, run)
        tuned = fine_tune(data, base, out, work, progress, epochs)
    console.print(
        f"{escape(str(out))}: nDCG@10 {tuned.tuned:.4f} on {tuned.held_out} held-out queries, "
        f"{tuned.base:.4f} before; trained on {tuned.queries} queries",
        soft_wrap=True,
    )

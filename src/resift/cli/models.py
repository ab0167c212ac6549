"""``resift models``: what is known and what is here; ``fetch`` and ``remove`` hub models."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resift.cli.options import AsJson
from resift.cli.output import (
    console,
    print_json,
    print_line,
    print_status,
    print_table,
    waiting,
)

if TYPE_CHECKING:
    from resift.rerank.artifact import Manifest
    from resift.rerank.known_models import KnownModel
    from resift.rerank.stored_models import StoredModel

HubId = Annotated[str, typer.Argument(metavar="NAME", help="Hub id, such as OWNER/NAME.")]

app = typer.Typer(help="List models; fetch and remove hub models.")


@app.callback(invoke_without_command=True)
def models(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List the bundled model, stored models, and known hub models."""
    if ctx.invoked_subcommand is not None:
        return
    from resift.rerank.artifact import load_artifact
    from resift.rerank.catalogue import BUNDLED
    from resift.rerank.known_models import KNOWN_MODELS
    from resift.rerank.stored_models import stored_models
    from resift.settings import Settings, cache_folder

    has_folder = cache_folder(Settings.load()) is not None
    stored = stored_models(_models_folder()) if has_folder else []
    bundled = load_artifact(BUNDLED).manifest
    if as_json:
        print_json(_as_json(bundled, stored))
        return
    _print_bundled(bundled)
    if stored:
        _print_stored(stored)
    _print_known(KNOWN_MODELS, {model.name for model in stored})


def fetch(
    name: HubId,
    revision: Annotated[
        str | None,
        typer.Option(help="Commit, branch or tag to use from now on; main is the newest."),
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="Relevance column of a head with several, by name or index.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Fetch, convert and store a hub model, so that it opens offline. Needs the hub extra."""
    from resift.extras import require
    from resift.rerank.artifact import load_artifact
    from resift.rerank.catalogue import checked_hub_id, checked_label
    from resift.rerank.stored_models import folder_size

    column = int(label) if label is not None and label.isdecimal() else label
    maker = require("resift.convert.make", "hub")
    with waiting(f"fetching and converting {name}"):
        folder: Path = maker.make_from_hub(
            checked_hub_id(name),
            revision,
            checked_label(column),
            _models_folder(),
            pin=revision is not None,
            use=None,
        )
    manifest, size = load_artifact(folder).manifest, folder_size(folder)
    commit = folder.name.partition("-")[0]
    if as_json:
        print_json(
            {
                "name": name,
                "commit": commit,
                "folder": str(folder),
                "bytes": size,
                "fingerprint": manifest.fingerprint,
            }
        )
        return
    print_line(f"{name} at {commit}: {size / 1e6:.0f} MB, fingerprint {manifest.fingerprint}")
    print_line(str(folder))


def remove(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Hub id, or folder:NAME as in the list.")
    ],
    as_json: AsJson = False,
) -> None:
    """Delete what is stored of a model. The hub's cache, and checkpoint folders, stay."""
    from resift.convert.store import remove as remove_stored
    from resift.errors import ModelNotFound
    from resift.rerank.stored_models import stored_repository

    models_folder = _models_folder()
    repository = stored_repository(models_folder, name)
    if repository is None:
        raise ModelNotFound(f"{name}: not stored; resift models lists what is")
    size = remove_stored(models_folder, repository, name)
    if as_json:
        print_json({"name": name, "bytes": size})
        return
    print_line(f"{name}: removed, {size:,} bytes are free again")
    if repository.exists():
        print_status(f"{repository}: stays, since it holds files that resift did not make")


def _models_folder() -> Path:
    from resift.rerank.stored_models import models_folder
    from resift.settings import Settings

    return models_folder(Settings.load())


def _as_json(bundled: "Manifest", stored: "list[StoredModel]") -> dict[str, Any]:
    from resift.cores import cores
    from resift.rerank.known_models import KNOWN_MODELS

    names = {model.name for model in stored}
    return {
        "bundled": {
            "name": bundled.name,
            "kind": bundled.kind,
            "base_model": bundled.base_model,
            "licence": bundled.licence,
            "fingerprint": bundled.fingerprint,
            "max_tokens": bundled.max_tokens,
        },
        "stored": [_stored_as_json(model) for model in stored],
        "known": [asdict(known) | {"is_stored": known.hub_id in names} for known in KNOWN_MODELS],
        "cores": cores(),
    }


def _stored_as_json(model: "StoredModel") -> dict[str, Any]:
    manifest = model.manifest
    return {
        "name": model.name,
        "commit": model.commit,
        "folder": str(model.folder),
        "bytes": model.size,
        "kind": manifest and manifest.kind,
        "fingerprint": manifest and manifest.fingerprint,
        "quantisation": manifest and manifest.quantisation,
        "max_tokens": manifest and manifest.max_tokens,
        "agreement": model.agreement,
        "problem": model.problem,
    }


def _print_bundled(manifest: "Manifest") -> None:
    from resift.cores import cores

    console.print(
        f"[bold]{manifest.name}[/]  bundled, {manifest.kind}, {manifest.licence}, "
        f"from {manifest.base_model}, fingerprint {manifest.fingerprint}\n",
        soft_wrap=True,
    )
    console.print(f"{cores()} cores are available to this process; threads = 0 uses all\n")


def _print_stored(stored: "list[StoredModel]") -> None:
    from rich.markup import escape

    table = _table("here", "commit", "size", "tokens", "int8 to float32")
    for model in stored:
        tokens = str(model.manifest.max_tokens) if model.manifest else "-"
        size = f"{model.size / 1e6:.0f} MB"
        table.add_row(escape(model.name), model.commit[:12], size, tokens, _agreement(model))
    print_table(table, min_width=_STORED_TABLE)
    console.print()


def _agreement(model: "StoredModel") -> str:
    """How int8 agrees with float32, in a few words."""
    if model.manifest is None:
        return "broken: is converted again"
    report = model.manifest.report
    if report is None:
        return "float32" if "float32" in model.manifest.quantisation else "not measured"
    if not report.is_int8:
        return "float32 kept: int8 is not close enough"
    order = "no order" if report.spearman is None else f"Spearman {report.spearman:.4f}"
    layers = len(report.float_layers)
    return order + (f", {layers} layers float32" if layers else "")


def _print_known(known: "tuple[KnownModel, ...]", stored: set[str]) -> None:
    console.print("known hub models; the first use, or [bold]resift models fetch[/], gets one:")
    table = _table("", "licence", "languages", "tokens", "million", "published quality", "")
    for model in known:
        table.add_row(
            model.hub_id,
            model.licence,
            model.languages,
            str(model.max_tokens),
            f"{model.parameters:g}",
            "; ".join(f"{quality.figure:.2f} {quality.measure}" for quality in model.quality)
            or "-",
            "here" if model.hub_id in stored else "",
        )
    print_table(table, min_width=_KNOWN_TABLE)
    console.print("\nFigures are others', in per cent; those of different measures do not compare.")


_KNOWN_TABLE, _STORED_TABLE = 160, 130  # columns: a name must not wrap


def _table(*columns: str) -> Any:
    from rich.table import Table

    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in columns:
        table.add_column(column, no_wrap=column in ("", "here"))
    return table

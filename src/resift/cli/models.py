"""``resift models``: list the bundled model, and checkpoints that can be converted."""

from dataclasses import asdict

from resift.cli.options import AsJson
from resift.cli.output import console, print_json, print_table


def models(as_json: AsJson = False) -> None:
    """List the bundled model and known checkpoints for resift convert."""
    from rich.table import Table

    from resift.cores import cores
    from resift.rerank.artifact import load_artifact
    from resift.rerank.catalogue import BUNDLED, CHECKPOINTS

    manifest = load_artifact(BUNDLED).manifest
    if as_json:
        bundled = {
            "name": manifest.name,
            "kind": manifest.kind,
            "base_model": manifest.base_model,
            "licence": manifest.licence,
            "fingerprint": manifest.fingerprint,
            "max_tokens": manifest.max_tokens,
        }
        convertible = [asdict(checkpoint) for checkpoint in CHECKPOINTS]
        print_json({"bundled": bundled, "convertible": convertible, "cores": cores()})
        return
    console.print(
        f"[bold]{manifest.name}[/]  bundled, {manifest.kind}, {manifest.licence}, "
        f"from {manifest.base_model}, fingerprint {manifest.fingerprint}\n",
        soft_wrap=True,
    )
    console.print(f"{cores()} cores are available to this process; threads = 0 uses all\n")
    console.print("to convert with [bold]resift convert[/]:")
    table = Table(box=None, show_header=False)
    table.add_column(no_wrap=True)
    for checkpoint in CHECKPOINTS:
        table.add_row(checkpoint.hub_id, checkpoint.licence, checkpoint.languages, checkpoint.note)
    print_table(table)

"""``resift demo``: index and search real documents, and show the commands for your own.

The documents are descriptions of the operations of AWS services, from the botocore package.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from resift.cli.index import print_skipped
from resift.cli.options import Calibration, Model, settings_with
from resift.cli.output import console, print_table, sync_progress
from resift.cli.ranking import milliseconds, passage
from resift.cli.streams import PASSAGE_TABLE
from resift.extras import require
from resift.types import DEPTH, Hit, Ranking

SERVICES = (
    "acm apigateway athena autoscaling backup batch cloudformation cloudfront cloudtrail "
    "cloudwatch codebuild cognito-idp config datasync dms dynamodb dynamodbstreams ebs ec2 ecr "
    "ecs efs eks elasticache elbv2 emr events firehose fsx glacier glue iam kinesis kms lambda "
    "logs opensearch organizations rds redshift route53 s3 s3control s3outposts s3tables "
    "s3vectors scheduler secretsmanager ses sesv2 sns sqs ssm stepfunctions storagegateway sts "
    "transfer wafv2"
).split()
_CAMEL = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
MIN_WORDS = 5  # excludes texts such as "(no documentation)"
QUESTIONS = (
    "keep an object from being deleted before a date",
    "bring a file back from the cold archive",
    "move messages that failed too often back to their queue",
    "limit how many copies of my function run at once",
    "wait before a deleted encryption key is really gone",
)
SHOWN = 3


def demo(
    folder: Annotated[
        Path,
        typer.Option(help="Folder for the documents and the index; later runs reuse them."),
    ] = Path(".demo"),
    model: Model = None,
    calibration: Calibration = None,
) -> None:
    """Index the service documentation in the botocore package and ask it five questions."""
    from resift.search.index import Index

    documents, index_folder = folder / "documents", folder / "index"
    count = write_documents(documents)
    console.print(
        f"[bold]{count:,} operations of {len(SERVICES)} services[/], from the botocore package: "
        f"{documents}",
        highlight=False,
        soft_wrap=True,
    )
    index = Index(str(index_folder), settings=settings_with(model, calibration))
    with sync_progress() as show:
        report = index.sync(str(documents), show)
    print_skipped(report)
    console.print(
        f"indexed in {report.seconds:.0f} s: {report.passages_embedded:,} passages embedded, "
        f"{report.unchanged} files unchanged: {index_folder}\n",
        highlight=False,
        soft_wrap=True,
    )
    index.search(QUESTIONS[0], top_n=1)  # loads the models, so that the times below exclude that
    for question in QUESTIONS:
        _show(index.search(question, top_n=DEPTH))
    console.print(
        "Now your own documents, a folder or a bucket:\n\n"
        "  resift index FOLDER --index my-index          resift index s3://BUCKET/DOCS "
        "--index s3://BUCKET/INDEX\n"
        '  resift search "a question" --index my-index   resift rerank --query "a question" '
        "candidates.txt",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def write_documents(folder: Path) -> int:
    """Write a JSON Lines file per service, unless it is up to date; returns the row count."""
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    for service in SERVICES:
        lines = [json.dumps(operation, ensure_ascii=False) for operation in operations(service)]
        count += len(lines)
        text = "\n".join(lines) + "\n"
        file = folder / f"{service}.jsonl"
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")
    return count


def operations(service: str) -> Iterator[dict[str, Any]]:
    """Yield a service's operations as rows of a JSON Lines source."""
    loader = require("botocore.loaders", "demo").Loader()
    model = loader.load_service_model(service, "service-2")
    name = model["metadata"].get("serviceAbbreviation") or model["metadata"]["serviceFullName"]
    for operation, facts in sorted(model["operations"].items()):
        text = plain_text(facts.get("documentation") or "")
        if len(text.split()) >= MIN_WORDS:
            yield {
                "_id": f"{service}.{operation}",
                "title": f"{name}: {_words(operation)}",
                "text": text,
                "service": service,
                "operation": operation,
            }


def _words(operation: str) -> str:
    """PutObjectRetention → put object retention, because people do not search in camel case."""
    return " ".join(_CAMEL.findall(operation)).lower()


def plain_text(html: str) -> str:
    """Convert documentation markup to text with the parser of HTML files."""
    from resift.index.parsing.parse_html import parse_html

    return parse_html("operation.html", html.encode()).documents[0].text


def _show(ranking: Ranking) -> None:
    """Print first-stage order beside reranked order, the best passage, and timings."""
    from rich.markup import escape
    from rich.table import Table

    first_stage = sorted(ranking, key=lambda hit: hit.first_stage_rank)
    table = Table(title=f"[bold]{escape(ranking.query)}[/]", title_justify="left", box=None)
    table.add_column("")
    table.add_column("first stage", ratio=1)
    table.add_column("reranked", ratio=1)
    table.add_column("moved", justify="right")
    for rank, (before, after) in enumerate(zip(first_stage, ranking, strict=True), 1):
        if rank > SHOWN:
            break
        table.add_row(str(rank), escape(before.title), escape(after.title), _moved(after))
    print_table(table, PASSAGE_TABLE)
    winner = Table(box=None, show_header=False, padding=(0, 0, 0, 2))
    winner.add_row(passage(ranking.query, ranking[0]))
    print_table(winner, PASSAGE_TABLE)
    timings = ", ".join(milliseconds(ranking.receipt.timings_ms))
    console.print(f"  [dim]{ranking.receipt.scored} passages read: {timings}[/]\n", soft_wrap=True)


def _moved(hit: Hit) -> str:
    gain = hit.first_stage_rank - hit.rank
    return f"+{gain}" if gain > 0 else str(gain or "=")

"""``resift demo``: index real documents, ask judged questions, and measure both stages.

The documents are descriptions of the operations of AWS services, from the botocore package.
"""

import json
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from resift.cli.demo_measures import compare, make_evaluator
from resift.cli.demo_questions import RULE, Question, questions, shown
from resift.cli.demo_report import LEGEND, is_success, print_comparison, print_question
from resift.cli.options import Calibration, Model, settings_with
from resift.cli.output import console, progress, sync_progress, waiting
from resift.cli.skipped import print_skipped
from resift.cli.symbols import encodable
from resift.errors import IndexBusy, OutputError, StoreError
from resift.extras import require
from resift.files import reason

if TYPE_CHECKING:
    from resift.search.index import Index

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
_LONG = "Now all {} judged questions are asked, which may take a minute …"
_COMMANDS = """\
Ask these documents, or yours, in a folder or a bucket:

  resift search "a question" --index {index}
  resift index FOLDER --index my-index
  resift index s3://BUCKET/DOCS --index s3://BUCKET/INDEX
  resift rerank --query "a question" candidates.txt"""


def demo(
    folder: Annotated[
        Path,
        typer.Option(help="Folder for the documents and the index; later runs reuse them."),
    ] = Path(".demo"),
    model: Model = None,
    calibration: Calibration = None,
) -> None:
    """Index the service documentation in the botocore package and ask it judged questions."""
    from resift.rerank.reranker import Reranker
    from resift.search.index import Index

    judged = questions()
    evaluator = make_evaluator(judged)
    documents, index_folder = folder / "documents", folder / "index"
    count = _written(documents, folder)
    _print(
        f"[bold]{count:,} operations of {len(SERVICES)} services[/], from the botocore package: "
        f"{escape(str(documents))}"
    )
    settings = settings_with(model, calibration)
    reranker = Reranker(settings=settings)
    index = Index(str(index_folder), settings=settings, reranker=reranker)
    with _damage_told(index_folder):
        _sync(index, documents, index_folder)
        _show_questions(index, judged)
        _print(_LONG.format(len(judged)))
        with progress() as bar:
            task = bar.add_task("all judged questions", total=len(judged), note="")
            comparison = compare(
                index, reranker, judged, evaluator, lambda done: bar.advance(task, done)
            )
    print_comparison(comparison)
    _print(escape(_COMMANDS.format(index=shlex.quote(str(index_folder)))))


def _written(documents: Path, folder: Path) -> int:
    """`write_documents`, with an error that names the option."""
    try:
        return write_documents(documents)
    except OSError as error:
        name = error.filename or documents
        raise OutputError(
            f"--folder {folder}: {name} cannot be written ({reason(error)}); name another folder"
        ) from error


@contextmanager
def _damage_told(index_folder: Path) -> Iterator[None]:
    """Tell what to delete if the index cannot be used; the demo builds it again."""
    try:
        yield
    except IndexBusy:
        raise
    except StoreError as error:
        raise StoreError(
            f"{error}; delete the folder {index_folder} and run  resift demo  again"
        ) from error


def _sync(index: "Index", documents: Path, index_folder: Path) -> None:
    with sync_progress() as show:
        report = index.sync(str(documents), show)
    print_skipped(report)
    _print(
        f"indexed in {report.seconds:.0f} s: {report.passages_embedded:,} passages embedded, "
        f"{report.unchanged} {'file' if report.unchanged == 1 else 'files'} unchanged: "
        f"{escape(str(index_folder))}\n"
    )


def _show_questions(index: "Index", judged: Sequence[Question]) -> None:
    """Search each of the shown questions with and without reranking, and print both orders."""
    chosen = shown(judged)
    _print(
        f"{len(chosen)} of {len(judged)} judged questions, chosen without a look at any result: "
        f"{escape(RULE)}.\n{encodable(LEGEND)}\n"
    )
    with waiting("loading the models"):  # so that the times below exclude that
        index.search(chosen[0].text)
    successes = [0, 0]
    for question in chosen:
        before, after = index.search(question.text, rerank=False), index.search(question.text)
        print_question(question, before, after)
        successes[0] += is_success(question, before)
        successes[1] += is_success(question, after)
    _print(
        f"Of these {len(chosen)}, with a judged operation in the first three: "
        f"{successes[0]} before reranking, [bold]{successes[1]} after[/]\n"
    )


def _print(text: str) -> None:
    console.print(text, soft_wrap=True)


def write_documents(folder: Path) -> int:
    """Write a JSON Lines file per service, unless it is up to date; returns the row count."""
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    for service in SERVICES:
        lines = [json.dumps(operation, ensure_ascii=False) for operation in operations(service)]
        count += len(lines)
        text = ("\n".join(lines) + "\n").encode()
        file = folder / f"{service}.jsonl"
        if not file.exists() or file.read_bytes() != text:
            file.write_bytes(text)
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

"""The demo's documents: what the botocore package says of each operation of AWS services."""

import re
from collections.abc import Iterator
from typing import Any

from resift.extras import require

SERVICES = (
    "acm apigateway athena autoscaling backup batch cloudformation cloudfront cloudtrail "
    "cloudwatch codebuild cognito-idp config datasync dms dynamodb dynamodbstreams ebs ec2 ecr "
    "ecs efs eks elasticache elbv2 emr events firehose fsx glacier glue iam kinesis kms lambda "
    "logs opensearch organizations rds redshift route53 s3 s3control s3outposts s3tables "
    "s3vectors scheduler secretsmanager ses sesv2 sns sqs ssm stepfunctions storagegateway sts "
    "transfer wafv2"
).split()
_CAMEL = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
MIN_WORDS = 5  # shorter texts, such as "(no documentation)", answer no question


def operations(service: str) -> Iterator[dict[str, Any]]:
    """A service's operations as rows of a JSON Lines source: id, title and plain text."""
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
    """PutObjectRetention → put object retention: people do not search in camel case."""
    return " ".join(_CAMEL.findall(operation)).lower()


def plain_text(html: str) -> str:
    """Documentation markup as text, a block a line, by the parser that indexes HTML files."""
    from resift.index.parsing.parse_html import parse_html

    return parse_html("operation.html", html.encode()).documents[0].text

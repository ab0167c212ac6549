"""A small server that speaks the QueryVectors operation of Amazon S3 Vectors.

It refuses unsigned requests, and checks requests and its own responses by botocore's model of the
service. Results come in pages.
"""

import json
import math
import re
from typing import Any

from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.validate import ParamValidator

from storage.peer import Answer, Peer, Request

MODEL = ServiceModel(Loader().load_service_model("s3vectors", "service-2"))
OPERATION = MODEL.operation_model("QueryVectors")
SIGNATURE = re.compile(
    r"AWS4-HMAC-SHA256 Credential=[^/]+/\d{8}/[a-z0-9-]+/s3vectors/aws4_request, "
    r"SignedHeaders=([a-z0-9;-]+), Signature=[0-9a-f]{64}"
)
WORD = re.compile(r"\w+")


class Refused(Exception):
    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status, self.kind = status, kind


class S3VectorsPeer(Peer):
    """One index, ``bucket/index``: vectors with metadata by key; `searchable` keys have text."""

    def __init__(self, metric: str = "cosine") -> None:
        super().__init__()
        self.metric = metric
        self.vectors: dict[str, tuple[list[float], dict[str, Any]]] = {}
        self.searchable: set[str] = set()
        self.page_size = 2
        self.refusal: Refused | None = None
        self.requests: list[dict[str, Any]] = []

    def answer(self, request: Request) -> Answer:
        try:
            body = self._respond(request)
        except Refused as refused:
            headers = {"x-amzn-ErrorType": refused.kind, "Content-Type": "application/json"}
            return Answer(refused.status, headers, json.dumps({"message": str(refused)}).encode())
        _check(body, OPERATION.output_shape)
        return Answer(200, {"Content-Type": "application/json"}, json.dumps(body).encode())

    def _respond(self, request: Request) -> dict[str, Any]:
        signed = SIGNATURE.fullmatch(request.headers.get("authorization", ""))
        if signed is None or not {"host", "x-amz-date"} <= set(signed[1].split(";")):
            raise Refused(403, "AccessDeniedException", "the request is not signed")
        if (request.method, request.path) != ("POST", "/QueryVectors"):
            raise Refused(404, "NotFoundException", request.path)
        body: dict[str, Any] = json.loads(request.body)
        _check(body, OPERATION.input_shape)
        self.requests.append(body)
        if self.refusal:
            raise self.refusal
        arn = "arn:aws:s3vectors:us-east-1:123456789012:bucket/bucket/index/index"
        names = (body.get("vectorBucketName"), body.get("indexName"), body.get("indexArn"))
        if names not in (("bucket", "index", None), (None, None, arn)):
            raise Refused(404, "NotFoundException", "The specified index could not be found")
        return self._page(self._results(body), body)

    def _page(self, results: list[dict[str, Any]], body: dict[str, Any]) -> dict[str, Any]:
        start = int(body.get("nextToken", "0"))
        end = start + self.page_size
        more = {"nextToken": str(end)} if end < len(results) else {}
        return {"vectors": results[start:end], "distanceMetric": self.metric, **more}

    def _results(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        if not 1 <= body["topK"] <= 10_000:
            raise Refused(400, "ValidationException", "Invalid topK")
        passing = {key: vector for key, vector in self.vectors.items() if _passes(vector[1], body)}
        dense = self._distances(passing, body) if "queryVector" in body else {}
        texts = self._matches(passing, body) if "queryTexts" in body else {}
        if not ("queryVector" in body or "queryTexts" in body):
            raise Refused(400, "ValidationException", "queryVector or queryTexts is required")
        ranks: dict[str, float] = {}
        for ranked in (
            sorted(dense, key=dense.__getitem__),
            sorted(texts, key=lambda k: -texts[k]),
        ):
            for rank, key in enumerate(ranked, start=1):
                ranks[key] = ranks.get(key, 0.0) + 1 / (60 + rank)
        best = sorted(ranks, key=lambda key: -ranks[key])[: body["topK"]]
        return [self._result(key, body, dense, texts, ranks) for key in best]

    def _result(
        self, key: str, body: dict[str, Any], dense: Any, texts: Any, fused: Any
    ) -> dict[str, Any]:
        result: dict[str, Any] = {"key": key}
        if body.get("returnMetadata"):
            result["metadata"] = self.vectors[key][1]
        if body.get("returnDistance") and key in dense:
            result["distance"] = dense[key]
        if body.get("returnScores") and "queryTexts" in body:
            fields = [text["metadataKey"] for text in body["queryTexts"]]
            scores = [{"metadataKey": name, "score": texts[key]} for name in fields[: key in texts]]
            result["scores"] = {"bm25Scores": scores}
            result["scores"] |= {"fused": fused[key]} if "queryVector" in body else {}
        return result

    def _distances(self, vectors: Any, body: dict[str, Any]) -> dict[str, float]:
        query = body["queryVector"]["float32"]
        distances = {}
        for key, (vector, _) in vectors.items():
            if len(vector) != len(query):
                reason = f"Invalid query vector dimension: {len(query)}"
                raise Refused(400, "ValidationException", reason)
            products = sum(a * b for a, b in zip(query, vector, strict=True))
            cosine = products / math.hypot(*query) / math.hypot(*vector)
            distances[key] = 1 - cosine if self.metric == "cosine" else math.dist(query, vector)
        return distances

    def _matches(self, vectors: Any, body: dict[str, Any]) -> dict[str, float]:
        scores: dict[str, float] = {}
        for query in body["queryTexts"]:
            name, text = query["metadataKey"], query["text"]
            if name not in self.searchable:
                reason = f"{name} has no text search configuration"
                raise Refused(400, "ValidationException", reason)
            if not 1 <= len(text) <= 1024:
                raise Refused(400, "ValidationException", "text: 1 to 1,024 characters")
            for key, (_, metadata) in vectors.items():
                words = WORD.findall(str(metadata.get(name, "")).lower())
                matched = len(set(WORD.findall(text.lower())) & set(words))
                if matched:
                    scores[key] = scores.get(key, 0.0) + matched
        return scores


def _passes(metadata: dict[str, Any], body: dict[str, Any]) -> bool:
    for name, condition in body.get("filter", {}).items():
        value = condition["$eq"] if isinstance(condition, dict) else condition
        if metadata.get(name) != value:
            return False
    return True


def _check(value: Any, shape: Any) -> None:
    report = ParamValidator().validate(value, shape)
    if report.has_errors():
        raise Refused(400, "ValidationException", report.generate_report())

"""Metrics of all replicas as one page for Prometheus: each series with its replica."""

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, disable_created_metrics
from prometheus_client.exposition import choose_encoder, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from resift.jobs.serve_forward import ForwardCounts

LABEL = "replica"


class IngressMetrics:
    """What an ingress has done."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # half of all series
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "resift_ingress_requests", "Requests that the ingress has ended.", ("status",),
            registry=self._registry,
        )  # fmt: skip
        self._retried = Counter(
            "resift_ingress_retried_requests",
            "Requests that were sent to another replica, because the first one died with them.",
            registry=self._registry,
        )
        self._lost = Counter(
            "resift_ingress_lost_requests",
            "Requests that were not answered, or not to the end, because replicas died.",
            registry=self._registry,
        )
        self._counted = ForwardCounts()

    def request(self, status: int) -> None:
        """Count a request that has ended."""
        self._requests.labels(status).inc()

    def exposition(self, counts: ForwardCounts) -> str:
        """The metrics in Prometheus' text format; `counts` are the totals so far."""
        self._retried.inc(counts.retried - self._counted.retried)
        self._lost.inc(counts.lost - self._counted.lost)
        self._counted = ForwardCounts(counts.retried, counts.lost)
        return generate_latest(self._registry).decode()


class _Families(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def merged(expositions: Mapping[str, str], accept: str) -> tuple[bytes, str]:
    """Texts of metrics by replica as one, in a format of the ``Accept`` header, and its name."""
    families: dict[str, Metric] = {}
    for replica, text in expositions.items():
        for family in text_string_to_metric_families(text):
            first = families.setdefault(
                family.name, Metric(family.name, family.documentation, family.type)
            )
            first.samples += [
                sample._replace(labels={**sample.labels, LABEL: replica})
                for sample in family.samples
            ]
    registry = CollectorRegistry()
    registry.register(_Families(families.values()))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type

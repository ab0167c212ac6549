"""Proves that the dashboard, the alert rules and the documents name what a server exposes."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from serve.exposed import Exposed, exposed
from serve.promql import Query, parse
from serve.running import running

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).parents[2]
DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy" / "grafana.json").read_text())
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((ROOT / "deploy" / "alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
]
DOCS = (ROOT / "docs" / "observability.md").read_text()
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
TARGETS = [(panel["title"], target) for panel in PANELS for target in panel["targets"]]

OF_PROMETHEUS = {"instance", "job"}
"""Labels that Prometheus adds."""

OF_A_KIND = {
    "_bucket": "histogram",
    "_sum": "histogram",
    "_count": "histogram",
    "_total": "counter",
}
SUFFIXES = re.compile("_(bucket|sum|count|total)$")


@pytest.fixture(scope="module")
def metrics(service: Any) -> Iterator[Exposed]:
    """The metrics of a server after some traffic."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("resift.serve.app.warm_up", lambda reranker: None)
        with running(service) as url:
            for documents in (["red sky"], ["", "word " * 1_000]):
                httpx2.post(f"{url}/v1/rank", json={"query": "red", "documents": documents})
            httpx2.post(f"{url}/v1/search", json={"query": "vacation"})
            httpx2.post(f"{url}/v1/rank", json={})
            yield exposed(url)


def offences(query: Query, metrics: Exposed) -> list[str]:
    """What a query asks for that no server has."""
    problems, labels = [], set(OF_PROMETHEUS)
    for selector in query.selectors:
        name = selector.metric
        of_metric = metrics.labels(name) | OF_PROMETHEUS
        labels |= of_metric
        if not any(sample.name == name for sample in metrics.samples):
            problems.append(f"{name} is not exposed")
            continue
        kind = OF_A_KIND.get(name[name.rfind("_") :], "gauge")
        if (selector.function in ("rate", "increase")) != (kind != "gauge"):
            problems.append(f"{name}: {selector.function or 'no rate'} of a {kind}")
        for label, operator, value in selector.matchers:
            if label not in of_metric:
                problems.append(f"{name} has no label {label}")
            elif operator in ("=", "!=") and value not in metrics.label_values(name, label):
                problems.append(f"{name}: {label} is never {value}")
    problems += [f"no metric has the label {label}" for label in query.grouping - labels]
    if "histogram_quantile" in query.functions and "le" not in query.grouping:
        problems.append("a quantile needs le")
    return problems


@pytest.mark.parametrize(("title", "target"), TARGETS, ids=lambda value: str(value)[:40])
def test_a_panel_asks_for_what_a_server_has(
    title: str, target: dict[str, Any], metrics: Exposed
) -> None:
    query = parse(target["expr"])
    assert query.selectors and offences(query, metrics) == []
    shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
    whole = set.union(*(metrics.labels(selector.metric) for selector in query.selectors))
    is_sum = bool(query.functions & {"sum", "min", "max", "count"})
    assert shown <= (query.grouping if is_sum else whole | OF_PROMETHEUS), title
    for selector in query.selectors:
        matchers = {(label, value) for label, _, value in selector.matchers}
        assert ("instance", "$instance") in matchers, "it follows the choice of servers"
        assert selector.metric.startswith("resift_") or ("job", "$job") in matchers


def test_the_dashboard_shows_every_metric_that_changes(metrics: Exposed) -> None:
    asked = {
        SUFFIXES.sub("", selector.metric)
        for _, target in TARGETS
        for selector in parse(target["expr"]).selectors
    }
    unasked = {"resift_build_info", "process_start_time_seconds"}
    assert set(metrics.types) - asked == unasked


def test_grafana_can_import_the_dashboard() -> None:
    assert "id" not in DASHBOARD and DASHBOARD["uid"] and DASHBOARD["schemaVersion"] >= 39
    variables = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    source = {"type": "prometheus", "uid": "${datasource}"}
    for panel in PANELS:
        assert panel["datasource"] == source and panel["title"]
        assert all(target["datasource"] == source for target in panel["targets"])
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references)
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(numbers)) == len(numbers)
    used = set(re.findall(r"\$(\w+)", " ".join(target["expr"] for _, target in TARGETS)))
    assert used - {"__rate_interval"} <= set(variables)


def test_panels_are_in_rows_and_do_not_overlap() -> None:
    rows = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    assert rows == [
        "Traffic", "Latency", "Queue", "Quality of service", "Engine", "Indexes and models",
    ]  # fmt: skip
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        grid = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(grid["x"], grid["x"] + grid["w"])
            for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert not cells & taken and max(x for x, _ in cells) < 24, panel["title"]
        taken |= cells


def test_the_variables_ask_for_what_a_server_has(metrics: Exposed) -> None:
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            name, label = re.fullmatch(
                r"label_values\((\w+)(?:\{[^}]*\})?, (\w+)\)", variable["query"]["query"]
            ).groups()  # type: ignore[union-attr]
            assert name in metrics.types and label in OF_PROMETHEUS


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_an_alert_asks_for_what_a_server_has(rule: dict[str, Any], metrics: Exposed) -> None:
    query = parse(rule["expr"])
    assert query.selectors and offences(query, metrics) == []
    assert re.search(r"[<>] [\d.]+\s*$", rule["expr"]), "an alert compares"
    shown = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
    assert shown <= query.grouping
    assert re.fullmatch(r"\d+m", rule["for"]) and rule["labels"]["severity"]
    assert f"`{rule['alert']}`" in DOCS


@pytest.mark.parametrize(
    ("expression", "offence"),
    [
        ("rate(resift_nothing_total[5m])", "is not exposed"),
        ("rate(resift_requests_total{model='x'}[5m])", None),
        ('rate(resift_requests_total{model="x"}[5m])', "no label model"),
        ('rate(resift_problems_total{kind="made up"}[5m])', "never made up"),
        ("resift_requests_total", "no rate of a counter"),
        ("rate(resift_queue_tokens[5m])", "rate of a gauge"),
        ("sum by (colour) (resift_queue_tokens)", "label colour"),
        (
            "histogram_quantile(0.5, sum(rate(resift_batch_tokens_bucket[5m])))",
            "needs le",
        ),
        ("sum(resift_queue_tokens", None),
        ("sum)resift_queue_tokens(", None),
        ("total(resift_queue_tokens)", None),
        ("sum(resift_queue_tokens}", None),
    ],
)
def test_the_check_itself_finds_what_is_wrong(
    expression: str, offence: str | None, metrics: Exposed
) -> None:
    if offence is None:
        with pytest.raises(ValueError):
            parse(expression)
    else:
        assert any(offence in problem for problem in offences(parse(expression), metrics))


def test_the_documents_list_exactly_the_metrics_of_a_server(metrics: Exposed) -> None:
    section = DOCS.partition("## Metrics")[2].partition("## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (counter|gauge|histogram) \| ([\w, ]*?) ?\|", section, re.M)
    documented = {name: (kind, frozenset(labels.split(", ")) - {""}) for name, kind, labels in rows}
    assert len(rows) == len(documented)
    of_samples = {
        SUFFIXES.sub("", sample.name) if sample.name not in metrics.types else sample.name: (
            frozenset(sample.labels) - {"le"}
        )
        for sample in metrics.samples
    }
    assert documented == {name: (kind, of_samples[name]) for name, kind in metrics.types.items()}

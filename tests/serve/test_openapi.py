"""Proves that the server does what its OpenAPI document says, for valid and for wrong requests.

schemathesis makes the requests. Without its pytest plugin, which changes how all tests are run.
"""

import logging
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from resift import Index, Reranker
from resift.serve.admission import Admission
from resift.serve.app import create_app
from resift.serve.options import ServeOptions
from resift.serve.service import Service
from serve.running import running

EXAMPLES = 12
LONG_EXAMPLES = 50

OPERATIONS = [
    (method, path)
    for path, methods in sorted(
        create_app(ServeOptions(), Service({}, {}, Admission())).openapi()["paths"].items()
    )
    for method in methods
]


@pytest.fixture(scope="module")
def schema(in_one_runtime: Reranker, served_index: Index) -> Iterator[schemathesis.BaseSchema]:
    models = {"bundled": in_one_runtime}
    logging.getLogger("schemathesis").setLevel(logging.ERROR)
    with running(Service(models, {"handbook": served_index}, Admission())) as url:
        yield schemathesis.openapi.from_url(f"{url}/openapi.json")
    logging.getLogger("schemathesis").setLevel(logging.NOTSET)


def check(schema: schemathesis.BaseSchema, method: str, path: str, examples: int) -> None:
    operation = schema[path][method.upper()]
    modes = list(schemathesis.GenerationMode)
    if operation.body or operation.path_parameters or operation.query:
        assert len(modes) == 2
    else:  # nothing can be wrong in it
        modes = [schemathesis.GenerationMode.POSITIVE]
    for mode in modes:
        strategy = operation.as_strategy(generation_mode=mode)

        @given(case=strategy)
        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def run(case: "schemathesis.Case[Any]") -> None:
            # A valid body may still say what cannot be done: a query of spaces, an unknown model.
            case.call_and_validate(timeout=60, excluded_checks=[positive_data_acceptance])

        run()


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_an_operation_answers_as_documented(
    schema: schemathesis.BaseSchema, method: str, path: str
) -> None:
    check(schema, method, path, EXAMPLES)


@pytest.mark.long
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_an_operation_answers_many_requests_as_documented(
    schema: schemathesis.BaseSchema, method: str, path: str
) -> None:
    check(schema, method, path, LONG_EXAMPLES)

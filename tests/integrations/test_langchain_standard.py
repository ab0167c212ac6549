"""Proves LangChain's standard tests of retrievers, offline, over a small index."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("langchain_core")
pytest.importorskip("langchain_tests")
from langchain_tests.integration_tests import RetrieversIntegrationTests

from integrations.stand_ins import pets_index
from resift.integrations.langchain import ResiftRetriever
from resift.search.index import Index

pytest.mark.anyio(RetrieversIntegrationTests.test_ainvoke_returns_documents)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class _Standard(RetrieversIntegrationTests):
    index: Index

    @pytest.fixture(autouse=True)
    def _index(self, tmp_path: Path) -> Iterator[None]:
        with pets_index(tmp_path) as self.index:
            yield

    @property
    def retriever_constructor(self) -> type[ResiftRetriever]:
        return ResiftRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"index": self.index}

    @property
    def retriever_query_example(self) -> str:
        return "which animal is a dog"


class TestRetriever(_Standard):
    """With LangChain's name for the number of results."""


class TestRetrieverWithTopN(_Standard):
    @property
    def num_results_arg_name(self) -> str:
        return "top_n"

"""A name opens what it says: a model, a service, a language model or a chain."""

from pathlib import Path

import pytest

from resift import (
    Chain,
    InputError,
    ListwiseReranker,
    ModelNotFound,
    RemoteReranker,
    Reranker,
    Settings,
    open_ranker,
)
from resift.rerank.families.names import is_other_than_model

URL = "http://127.0.0.1:1"


@pytest.mark.parametrize(
    ("name", "kind", "called"),
    [
        (None, Reranker, "resift-minilm-l6"),
        ("bundled", Reranker, "resift-minilm-l6"),
        (f"tei:{URL}", RemoteReranker, "tei"),
        (f"vllm:{URL}#bge", RemoteReranker, "vllm/bge"),
        (f"resift:{URL}", RemoteReranker, "resift"),
        (f"llm:{URL}/v1#qwen", ListwiseReranker, "qwen"),
        ("bundled@9+bundled@3", Chain, "resift-minilm-l6 > resift-minilm-l6"),
        (f"bundled@9+tei:{URL}@3", Chain, "resift-minilm-l6 > tei"),
    ],
)
def test_names(name: str | None, kind: type, called: str) -> None:
    ranker = open_ranker(name)
    assert type(ranker) is kind
    assert called in ranker.name
    ranker.close()


def test_keys_of_public_services_come_from_the_settings() -> None:
    ranker = open_ranker("cohere:rerank-v3.5", settings=Settings(cohere_key="a secret"))
    assert ranker.name == "cohere/rerank-v3.5"
    assert "secret" not in repr(ranker)


def test_the_settings_name_the_second_stage_of_searches() -> None:
    chain = open_ranker(settings=Settings(model="bundled@9+bundled@3"))
    assert repr(chain) == "<Chain 9 resift-minilm-l6 > 3 resift-minilm-l6>"


def test_without_a_fallback_a_service_that_fails_raises() -> None:
    with pytest.raises(Exception, match="tei"):
        open_ranker(f"tei:{URL}", fallback=None).rank("a query", ["a text"])


@pytest.mark.parametrize("name", ["models/a+b", "a@3", "a@x+b@y", "my:folder", "./tei", "tei"])
def test_folders_are_not_taken_for_anything_else(name: str) -> None:
    assert not is_other_than_model(name)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("bundled@3+nowhere@2", ModelNotFound, "nowhere"),
        ("bundled@2+bundled@3", InputError, "none greater"),
        ("bundled@0+bundled@0", InputError, "whole numbers from 1"),
        (f"llm:{URL}", InputError, "model"),
        ("tei:", InputError, "url"),
        ("cohere:ftp://host", InputError, "ftp"),
    ],
)
def test_wrong_names(name: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        open_ranker(name)


def test_a_calibration_is_for_a_local_model(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="local model"):
        open_ranker("bundled@9+bundled@3", calibration=tmp_path / "calibration.json")

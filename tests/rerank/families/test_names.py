"""A name opens what it says: a model, a service, a language model or a chain."""

import pickle
from pathlib import Path
from typing import Any

import pytest

from resift import (
    Chain,
    InputError,
    ListwiseReranker,
    ModelNotFound,
    RemoteReranker,
    Reranker,
    Settings,
    SettingsError,
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
        ("bundled@2+bundled@3", InputError, r"^a chain's depths=\[2, 3\]: .*none greater"),
        ("bundled@0+bundled@0", InputError, "whole numbers from 1"),
        (f"llm:{URL}", InputError, "expected llm:URL#MODEL"),
        ("bundled+bundled", ModelNotFound, "a chain is NAME@DEPTH"),
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


SECRET = "S3cr3t"


@pytest.mark.parametrize(
    "name",
    [
        f"teii:https://u:{SECRET}@h",
        f"Cohere:https://u:{SECRET}@h",
        f"https://u:{SECRET}@h",
        f"bundled@100+tei:https://u:{SECRET}@h",
        f"bundled@100+teii:https://u:{SECRET}@h@20",
        f"tei:https://h/?key={SECRET}",
        f"tei:u:{SECRET}@127.0.0.1:99",
        f"teii:https://u:{SECRET}{'x' * 300}@h",
    ],
)
def test_a_secret_in_a_wrong_name_is_in_no_error(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESIFT_MODEL", name)
    assert SECRET not in repr(Settings.load())
    for opened in (name, None, Path(name)) if "://" in name else (name, None):
        with pytest.raises((InputError, ModelNotFound)) as raised:
            open_ranker(opened)
        error: BaseException | None = raised.value
        while error is not None:
            assert SECRET not in str(error) + repr(error)
            error = error.__cause__


def test_a_secret_in_a_right_name_is_in_no_error_and_no_pickle() -> None:
    name = f"tei:https://u:{SECRET}@h"
    with pytest.raises(InputError, match=r"tei:https://…@h: a calibration") as raised:
        open_ranker(name, calibration="x")
    assert SECRET not in repr(raised.value)
    with pytest.raises(InputError, match=r"url='https://h/\?…'"):
        RemoteReranker("tei", url=f"https://h/?key={SECRET}")
    bundled = Reranker("bundled", settings=Settings(model=name))
    assert SECRET.encode() not in pickle.dumps(bundled)


@pytest.mark.parametrize("name", [f"tei:{URL}", f"bundled@9+tei:{URL}@3", f"llm:{URL}/v1#qwen"])
def test_the_settings_may_name_a_service(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings(model=name).model == name
    assert open_ranker(settings=Settings(model=name)).name == open_ranker(name).name
    monkeypatch.setenv("RESIFT_MODEL", name)
    assert open_ranker().name == open_ranker(name).name


@pytest.mark.parametrize(
    "name", ["bundled@20", "bundled@x+ce@2", "cohere", "cohre:x", "COHERE:x", "bundled@9+tei:h"]
)
def test_a_name_that_is_nearly_one_says_the_forms(name: str) -> None:
    with pytest.raises(ModelNotFound, match=r"cohere:MODEL.*NAME@DEPTH\+NAME@DEPTH"):
        open_ranker(name)


def test_other_names_have_other_hints() -> None:
    with pytest.raises(ModelNotFound, match="resift models lists") as raised:
        open_ranker("nowhere")
    assert "DEPTH" not in str(raised.value)
    with pytest.raises(InputError, match="tei: http:// is missing"):
        open_ranker("tei:127.0.0.1:99")
    settings: Any = "x"
    with pytest.raises(SettingsError, match="expected Settings, got str"):
        open_ranker(settings=settings)

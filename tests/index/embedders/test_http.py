"""What a server gives is taken in the right order, unit and whole, or refused in one line."""

import base64
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.embedders.embedding_server import DIM, Request, good, serve, vector
from resift.errors import EmbedderError, InputError
from resift.index.embedders.http import (
    BATCH_CHARACTERS,
    BATCH_TEXTS,
    HttpEmbedder,
    batches,
    unit_vectors,
)
from resift.settings import Settings
from resift.transport.endpoint import RetryLimits

TEXTS = [f"{'word ' * number}{number}" for number in range(70)]
ONCE = RetryLimits(timeout_s=5, tries=1, max_wait_s=1)


def opened(spec: str, key: str | None = None) -> HttpEmbedder:
    return HttpEmbedder(spec, Settings(embedder_key=key), bulk=ONCE, query=ONCE)


def test_vectors_are_the_servers_made_unit_in_input_order_over_batches() -> None:
    with serve() as server:
        vectors = opened(server.spec).embed(TEXTS)
    expected = np.array([vector(text) for text in TEXTS])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, expected, atol=1e-6)
    assert [len(request.texts) for request in server.requests] == [32, 32, 6]


def test_a_request_follows_the_protocol() -> None:
    with serve() as server:
        query = opened(server.spec).embed_query("blue whales")
    (request,) = server.requests
    assert request.path == "/v1/embeddings"
    assert request.body == {"model": "tiny", "input": ["blue whales"], "encoding_format": "float"}
    assert request.headers["Content-Type"] == "application/json"
    assert "Authorization" not in request.headers
    assert query.shape == (DIM,)


def test_rows_in_another_order_are_put_in_order_by_index() -> None:
    def shuffled(request: Request) -> None:
        answer = good(request.texts)
        answer["data"].reverse()
        request.send(200, answer)

    with serve(shuffled) as server:
        embedder = opened(server.spec)
        np.testing.assert_array_equal(embedder.embed(TEXTS[:9]), embedder.embed(TEXTS[:9]))


def test_the_dimension_is_requested_once_and_only_before_the_first_text() -> None:
    with serve() as server:
        embedder = opened(server.spec)
        assert server.requests == []
        assert (embedder.dim, embedder.dim, len(server.requests)) == (DIM, DIM, 1)
        assert embedder.embed([]).shape == (0, DIM)
        assert len(server.requests) == 1
        other = opened(server.spec)
        other.embed(["text"])
        assert other.dim == DIM and len(server.requests) == 2


def test_another_dimension_than_before_is_refused() -> None:
    with serve() as server:
        embedder = opened(server.spec)
        assert embedder.dim == DIM
        row = {"index": 0, "embedding": [1.0, 2.0, 3.0]}
        server.responses.append(lambda request: request.send(200, {"data": [row]}))
        with pytest.raises(EmbedderError, match="a vector of 3 numbers, where it gave 8 before"):
            embedder.embed(["text"])


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ([], "expected a JSON object with a list of objects in data"),
        ({"data": None}, "expected a JSON object with a list"),
        ({"data": ["a", "b"]}, "expected a JSON object with a list"),
        ({"data": []}, "0 vectors for 2 texts"),
        ({"data": [{"index": 0, "embedding": [1.0]}]}, "1 vectors for 2 texts"),
        ({"data": [{"index": 0}, {"index": 0}]}, "expected the indexes 0 to 1, each once"),
        ({"data": [{"index": 1}, {"index": 2}]}, "expected the indexes 0 to 1, each once"),
        ({"data": [{"index": [0]}, {"index": 1}]}, "expected the indexes 0 to 1, each once"),
        ({"data": [{"index": 0}, {"index": 1}]}, "expected an embedding of numbers"),
        ({"data": [{"embedding": [1, 2]}, {"embedding": [1]}]}, "expected an embedding of numbers"),
        ({"data": [{"embedding": []}, {"embedding": []}]}, "expected an embedding of numbers"),
        ({"data": [{"embedding": "AAAA"}] * 2}, "expected an embedding of numbers"),
        ({"data": [{"embedding": [None]}] * 2}, "a vector of zeros, or with a number"),
        ({"data": [{"embedding": [float("nan")]}] * 2}, "a vector of zeros, or with a number"),
        ({"data": [{"embedding": [float("inf")]}] * 2}, "a vector of zeros, or with a number"),
        ({"data": [{"embedding": [1e200, 1e200]}] * 2}, "a vector of zeros, or with a number"),
        ({"data": [{"embedding": [0, 0]}] * 2}, "a vector of zeros, or with a number"),
        ({"data": [{"embedding": [10**400]}] * 2}, "expected an embedding of numbers"),
        ({"data": [{"embedding": [[1.0]]}] * 2}, "expected an embedding of numbers"),
    ],
)
def test_an_answer_that_is_no_vectors_is_refused_in_one_line(answer: Any, message: str) -> None:
    with serve(lambda request: request.send(200, answer)) as server:
        with pytest.raises(EmbedderError) as caught:
            opened(server.spec).embed(["one", "two"])
    assert str(caught.value).startswith(f"{server.spec}: {message}")
    assert str(caught.value).endswith("is it an embeddings server?")
    assert len(server.requests) == 1


numbers = st.floats(0.01, 10) | st.floats(-10, -0.01)


@given(st.lists(st.lists(numbers, min_size=3, max_size=3), min_size=1, max_size=9), st.data())
def test_rows_in_any_order_are_the_same_vectors(
    rows: list[list[float]], data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(rows))))
    answer = {"data": [{"index": number, "embedding": rows[number]} for number in order]}
    vectors = unit_vectors(answer, len(rows))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    np.testing.assert_allclose(vectors * lengths, rows, atol=1e-4)


@given(st.lists(st.integers(0, BATCH_CHARACTERS + 5).map("x".__mul__), min_size=1, max_size=80))
def test_batches_hold_all_texts_in_order_within_the_bounds(texts: list[str]) -> None:
    groups = list(batches(texts))
    assert [text for batch in groups for text in batch] == texts
    for batch in groups:
        assert 1 <= len(batch) <= BATCH_TEXTS
        assert len(batch) == 1 or sum(map(len, batch)) <= BATCH_CHARACTERS
    for batch, after in pairwise(groups):  # none could have taken one more
        full = len(batch) == BATCH_TEXTS
        assert full or sum(map(len, batch)) + len(after[0]) > BATCH_CHARACTERS


def test_threads_may_share_it() -> None:
    with serve() as server:
        embedder = opened(server.spec)
        expected = embedder.embed(TEXTS[:20])
        start = threading.Barrier(4)

        def work(_: int) -> Any:
            start.wait()
            return embedder.embed(TEXTS[:20])

        with ThreadPoolExecutor(4) as pool:
            for vectors in pool.map(work, range(4)):
                np.testing.assert_array_equal(vectors, expected)


@pytest.mark.parametrize("spec", ["http://host/v1", "http://host/v1#", "http://#m", "http:///v1#m"])
@pytest.mark.parametrize("user", ["", "user:s3cret@"])
def test_half_a_url_is_refused_without_its_password(spec: str, user: str) -> None:
    with pytest.raises(InputError) as caught:
        opened(spec.replace("//", f"//{user}"))
    message = str(caught.value)
    assert "expected a URL with a host and, behind #, a model" in message
    assert "s3cret" not in message and "\n" not in message


@pytest.mark.parametrize(
    "spec",
    [
        "http://host:port/v1#m",
        "http://host:0/v1#m",
        "http://[::1/v1#m",
        "http://host/v1?key=s3cret#m",
        "http://host/v 1#m",
        "http://höst/v1#m",
        "http://host/v1\n#m",
    ],
)
def test_an_invalid_url_is_refused_at_once(spec: str) -> None:
    with pytest.raises(InputError, match="expected a URL") as caught:
        opened(spec)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("http://host/v1/#m", "http://host/v1#m"),
        ("http://Host:8080/v1/embeddings#a/b:c", "http://host:8080/v1#a/b:c"),
        ("https://user:p%40ss@host#m#1", "https://host#m#1"),
    ],
)
def test_its_name_is_the_url_without_the_user(spec: str, name: str) -> None:
    embedder = opened(spec)
    assert embedder.name == name == opened(embedder.name).name
    assert embedder.fingerprint == opened(name).fingerprint


def test_a_key_is_sent_as_a_bearer_token_and_a_user_as_basic() -> None:
    with serve() as server:
        opened(server.spec, " key\n").embed_query("a")
        opened(server.spec.replace("//", "//me:p%40ss@"), "key").embed_query("a")
        opened(server.spec, " ").embed_query("a")
    sent = [request.headers["Authorization"] for request in server.requests]
    assert sent == ["Bearer key", "Basic bWU6cEBzcw==", None]


@pytest.mark.parametrize("key", ["s3cret\nX-Other: 1", "s3crét"])
def test_a_key_that_no_header_can_hold_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(InputError, match="embedder_key: has characters") as caught:
        opened("https://host/v1#m", key)
    assert "s3cr" not in str(caught.value)


def test_a_fingerprint_knows_no_key() -> None:
    spec = "https://host/v1#m"
    assert opened(spec).fingerprint == opened(spec, "key").fingerprint


def test_vectors_in_base64_are_the_same() -> None:
    def coded(request: Request) -> None:
        answer = good(request.texts)
        for row in answer["data"]:
            row["embedding"] = base64.b64encode(
                np.array(row["embedding"], "<f4").tobytes()
            ).decode()
        request.send(200, answer)

    with serve(coded) as server:
        embedder = opened(server.spec)
        np.testing.assert_array_equal(embedder.embed(TEXTS[:9]), embedder.embed(TEXTS[:9]))


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_text_that_is_refused_costs_itself_only(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    texts = [*TEXTS[:20], "too long " * 1_000, "poison", *TEXTS[20:40]]

    def strict(request: Request) -> None:
        if any(len(text) > 3_000 or "poison" in text for text in request.texts):
            request.send(status, {"error": {"message": "no"}})
        else:
            request.send(200, good(request.texts))

    with serve(*[strict] * 100) as server:
        embedder = opened(server.spec)
        vectors = embedder.embed(texts)
        expected = embedder.embed([*texts[:20], texts[20][:2_250], "x", *texts[22:]])
    expected[21] = 0
    np.testing.assert_array_equal(vectors, expected)
    assert ("poison" in caplog.text and "400" in caplog.text) or str(status) in caplog.text


def test_a_server_that_refuses_everything_ends_the_work() -> None:
    def never(request: Request) -> None:
        request.send(400, {"error": "no such model"})

    with serve(*[never] * 10) as server, pytest.raises(EmbedderError, match="no such model"):
        opened(server.spec).embed(TEXTS)
    assert len(server.requests) == 2

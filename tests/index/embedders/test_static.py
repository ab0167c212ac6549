"""WordLlama embeds out of its package: no network, no logging turned on, no text that breaks it."""

import logging
import subprocess
import sys

import numpy as np
import pytest

from resift.errors import MissingExtra
from resift.index.embed import open_embedder
from resift.index.embedders.static import StaticEmbedder
from resift.settings import Settings

OFFLINE = """
import socket
def refuse(*_, **__):
    raise SystemExit("the network was asked for")
socket.socket.connect = socket.getaddrinfo = refuse
import logging
from resift.index.embed import open_embedder
from resift.settings import Settings
embedder = open_embedder("wordllama", Settings())
print(embedder.embed(["blue whales"]).shape, logging.getLogger().handlers, logging.root.level)
"""


@pytest.fixture(scope="module")
def embedder() -> StaticEmbedder:
    pytest.importorskip("wordllama")
    return StaticEmbedder()


def test_vectors_are_unit_and_the_same_alone_and_among_others(embedder: StaticEmbedder) -> None:
    texts = ["blue whales sing", "a much longer text about nothing at all " * 9, "sea"]
    vectors = embedder.embed(texts)
    assert vectors.shape == (3, embedder.dim) and vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    for text, vector in zip(texts, vectors, strict=True):
        np.testing.assert_allclose(embedder.embed_query(text), vector, atol=1e-5)


def test_meaning_is_nearer_than_nothing(embedder: StaticEmbedder) -> None:
    query, near, far = embedder.embed(["a young cat", "a kitten plays", "quarterly tax returns"])
    assert query @ near > query @ far


def test_no_text_is_zeros_and_no_texts_are_none(embedder: StaticEmbedder) -> None:
    assert embedder.embed([]).shape == (0, 256)
    vectors = embedder.embed(["", "sea"])
    assert not vectors[0].any() and vectors[1].any()


def test_it_needs_no_network_no_home_and_leaves_logging_alone(
    embedder: StaticEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/nonexistent")
    done = subprocess.run([sys.executable, "-c", OFFLINE], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"(1, 256) [] {logging.WARNING}\n"


def test_the_fingerprint_is_the_weights(embedder: StaticEmbedder) -> None:
    assert embedder.fingerprint.startswith("wordllama l2_supercat ")
    assert embedder.fingerprint == StaticEmbedder().fingerprint


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wordllama", None)
    with pytest.raises(MissingExtra, match=r"resift\[wordllama\]"):
        open_embedder("wordllama", Settings())

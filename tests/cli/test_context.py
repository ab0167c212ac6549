"""``resift search --context`` prints a text for a language model, and its sources are proved."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.command import Resift
from cli.conftest import resift as resift
from resift.cli.context import context_line
from resift.rerank.catalogue import BUNDLED
from resift.search.index import Index
from resift.search.token_counts import count_tokens
from resift.settings import Settings
from resift.types import Context
from search.library import write_documents

FIRST = ("--no-rerank", "--mode", "lexical", "--top-n", "2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("context")
    write_documents(root / "docs")
    Index(root / "index", settings=Settings()).sync(str(root / "docs"))
    yield root


def test_the_text_is_on_stdout_and_the_receipt_on_stderr(resift: Resift, folder: Path) -> None:
    done = resift("search", "lighthouse", "--index", folder / "index", *FIRST, "--context", "900")
    assert done.code == 0 and done.out.startswith("[1] Guide — Light (")
    assert 500 < count_tokens(done.out.strip()) <= 900
    assert "tokens of" in done.err and "scored" in done.err


def test_what_is_left_out_is_counted() -> None:
    context = Context("", 1_234, (), left_out=1, same_text=2, notes=("a note",))
    assert context_line(context) == (
        "1,234 tokens of 0 sources · 1 hit did not fit · 2 with the same text · a note"
    )
    assert (
        context_line(Context("", 0, (), left_out=2)) == "0 tokens of 0 sources · 2 hits did not fit"
    )


def test_json_has_the_sources_and_verify_citation_takes_them(resift: Resift, folder: Path) -> None:
    index = ("--index", folder / "index")
    done = resift("search", "compass", *index, *FIRST, "--context", "900", "--json")
    document = json.loads(done.out)
    sources = document["context"]["sources"]
    assert len(document["hits"]) == 2 and sources[0]["passages"]
    file = folder / "answer.json"
    for value, count in ((document, 2 + len(sources)), (document["context"], len(sources)),
                         (sources, len(sources)), (sources[0], 1)):  # fmt: skip
        file.write_text(json.dumps(value))
        verdicts = json.loads(resift("verify-citation", file, *index, "--json").out)
        assert [verdict["status"] for verdict in verdicts] == ["verified"] * count
    sources[0]["text"] = sources[0]["text"].upper()
    file.write_text(json.dumps(document))
    assert resift("verify-citation", file, *index).code == 1


def test_a_tokenizer_is_named(resift: Resift, folder: Path) -> None:
    index = ("--index", folder / "index")
    options = ("--context", "200", "--tokenizer", BUNDLED / "tokenizer.json", "--json")
    context = json.loads(resift("search", "anchor", *index, *FIRST, *options).out)["context"]
    assert 0 < context["tokens"] <= 200


def test_documents_are_collapsed(resift: Resift, folder: Path) -> None:
    options = (*FIRST, "--collapse", "document", "--json")
    done = json.loads(
        resift("search", "lighthouse anchor", "--index", folder / "index", *options).out
    )
    assert len({hit["citation"]["uri"] for hit in done["hits"]}) == len(done["hits"]) == 2
    assert done["receipt"]["collapsed"] > 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--context", "50", "--jsonl"), "--context and --jsonl"),
        (("--tokenizer", "x"), "--tokenizer: has no effect without --context"),
        (("--context", "0"), "error: --context 0: expected a number of tokens from 1"),
        (("--context", "-5"), "error: --context -5: expected a number of tokens from 1"),
        (("--context", "50", "--tokenizer", "not here"), "no such file or folder"),
    ],
)
def test_options_that_exclude_each_other_are_refused(
    resift: Resift, folder: Path, options: tuple[str, ...], message: str
) -> None:
    done = resift("search", "anchor", "--index", folder / "index", *FIRST, *options)
    assert message in done.error


def test_a_tokenizer_of_the_hub_needs_no_onnx(
    resift: Resift, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [*sys.modules]:
        if name.partition(".")[0] in ("onnx", "safetensors") or name.startswith("resift.convert."):
            monkeypatch.delitem(sys.modules, name)
    for name in ("onnx", "safetensors", "huggingface_hub"):
        monkeypatch.setitem(sys.modules, name, None)
    index = ("--index", folder / "index")
    done = resift("search", "anchor", *index, *FIRST, "--context", "50", "--tokenizer", "a/b")
    assert "huggingface_hub is not installed: run pip install 'resift[hub]'" in done.error

"""Chunks with what is between them are the document again, also after they were sent as JSON."""

import json
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from resift.index.normalisation import is_visible
from resift.index.parsing.chunking import chunk_document, token_starts
from resift.index.parsing.documents import ParsedDocument, Section
from resift.index.parsing.protocol import from_json, to_json

SENTENCE = "The keeper of the light writes the day and the weather into the book of the ship. "
PIECES = st.sampled_from(
    [
        SENTENCE * 3,
        SENTENCE * 9,
        "\n\n",
        " \t",
        "\u200b\n",
        "\u00ad" * 40,
        "\u3000\n",
        "漢字。" * 90,
    ]
)


@given(st.lists(PIECES, max_size=12).map("".join), st.integers(0, 3))
def test_chunks_and_gaps_are_the_document(text: str, sections: int) -> None:
    borders = [len(text) * step // (sections + 1) for step in range(sections + 2)]
    parts = tuple(Section(*pair) for pair in pairwise(borders))
    parsed = ParsedDocument("d", "t", text, parts)
    document = chunk_document(parsed, token_starts, with_text=True)
    for chunk, following in pairwise(document.chunks):
        between = text[chunk.end : following.start]
        assert not is_visible(between)
        assert chunk.after == (between if len(between) <= 100 else "")
    if document.chunks:
        assert document.chunks[-1].after == ""
    sent = json.loads(json.dumps(to_json([document], [])))
    assert from_json(sent).documents == (document,)


def test_a_long_gap_is_not_stored() -> None:
    for length, stored in ((100, 100), (101, 0)):
        text = f"{(SENTENCE * 10).strip()}{' ' * length}{SENTENCE * 10}"
        at = text.index(" " * 99)
        parsed = ParsedDocument("d", "t", text, (Section(0, at), Section(at, len(text))))
        chunks = chunk_document(parsed, token_starts).chunks
        (before,) = (chunk for chunk in chunks if chunk.end == at)
        assert len(before.after) == stored

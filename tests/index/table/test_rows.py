"""Proves which texts of a passage are embedded and which are analysed."""

from typing import Any

import pytest

from index.shelf import passage


def added(**facts: Any) -> str:
    """What is analysed beside the text that is embedded."""
    return passage("a.csv", "the printer is broken", **facts).searched_metadata


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"row": 4, "doc_id": "INC-1050", "metadata": {}}, "INC-1050"),
        ({"row": 4, "doc_id": "row-4", "metadata": {}}, ""),
        ({"row": 4, "doc_id": "1050", "metadata": {}}, ""),
        ({"row": None, "doc_id": "notes/INC-1050.md", "metadata": {}}, ""),
        ({"metadata": {"team": "Payments", "year": 2024, "urgent": True}}, "Payments 2024"),
        ({"metadata": {"tags": ["disk", "x" * 101], "deep": {"a": "b"}, "no": None}}, "disk"),
        ({"metadata": {}}, ""),
    ],
)
def test_ids_of_rows_and_short_metadata_are_analysed_but_not_embedded(
    facts: dict[str, Any], expected: str
) -> None:
    assert added(**facts) == expected


def test_much_metadata_is_cut() -> None:
    assert len(added(metadata={str(i): "word" for i in range(1_000)})) <= 500

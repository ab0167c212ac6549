"""The examples of the OpenAPI document. The tests run each of them."""

from typing import Any

RANK: dict[str, Any] = {
    "texts": {
        "summary": "Plain texts",
        "value": {
            "query": "how do I reset my password",
            "documents": [
                "Passwords are stored as salted hashes.",
                "Choose Settings, then Security, and press Reset password.",
                "The office is closed on Sundays.",
            ],
            "top_n": 2,
        },
    },
    "documents": {
        "summary": "Documents with first-stage scores, a budget and an explanation",
        "value": {
            "query": "who approves vacation",
            "documents": [
                {"id": "a", "text": "Your manager approves vacation. Ask early.", "score": 7.1},
                {"id": "b", "text": "Vacation is 30 days a year.", "score": 8.4},
            ],
            "budget_ms": 5000,
            "explain": 1,
        },
    },
    "windows": {
        "summary": "Long documents, read in windows, and no hit that scores below .01",
        "value": {
            "query": "error 0x80070005",
            "documents": ["Access is denied. " * 400 + "Error 0x80070005 means: no permission."],
            "long_documents": "windows",
            "min_score": 0.0001,
        },
    },
}

SEARCH: dict[str, Any] = {
    "search": {
        "summary": "Two stages",
        "value": {"query": "who approves vacation", "top_n": 3},
    },
    "context": {
        "summary": "A context for a language model, with citations",
        "value": {"query": "who approves vacation", "top_n": 3, "context_tokens": 400},
    },
    "stream": {
        "summary": "The first stage's order before the reranked one",
        "value": {"query": "who approves vacation", "stream": True},
    },
    "lexical": {
        "summary": "Keywords alone, without reranking",
        "value": {"query": "vacation", "mode": "lexical", "rerank": False},
    },
}

"""A reranking service orders my documents: what happens when it fails?

Run: pip install resift, then python examples/remote.py. Nothing is downloaded: without the key of a
service (COHERE_API_KEY) a small server in this file stands in for Cohere's. With the key this asks
Cohere.
"""

import json
import os
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from resift.rerank.families.remote import RemoteReranker
from resift.types import Ranking

QUESTION = "How can I end my subscription?"
TEXTS = [
    "How can I change my plan? Open Settings, choose Plan, and pick another size.",
    "At the end of a trial your plan becomes the free plan.",
    "To cancel a subscription, open Billing and press Stop. It runs on for a month.",
    "Invoices are in the archive of your account.",
]


def long_words(text: str) -> set[str]:
    """The words of a text with five letters or more, in lower case."""
    return set(re.findall(r"\w{5,}", text.lower()))


class Standin(BaseHTTPRequestHandler):
    """Speaks Cohere's API. Its scores count shared words; `mood` is its state."""

    mood = "well"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.mood == "asleep":
            time.sleep(2)
        words = long_words(body["query"])
        scores = [len(words & long_words(text)) / 10 for text in body["documents"]]
        results = [{"index": index, "relevance_score": score} for index, score in enumerate(scores)]
        answer = json.dumps({"results": results} if self.mood != "ill" else {"message": "oh"})
        self.send_response(503 if self.mood == "ill" else 200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer.encode())

    def log_message(self, *_: object) -> None:
        """Quiet."""


def show(ranking: Ranking) -> None:
    """The first hit, who ranked, and why."""
    print(f"   first: {ranking[0].text}")
    print(f"   ranked by {ranking.receipt.model} at {ranking.receipt.runtime}")
    print(f"   reason: {ranking.receipt.reason}")


server = ThreadingHTTPServer(("127.0.0.1", 0), Standin)
threading.Thread(target=server.serve_forever, daemon=True).start()
has_key = bool(os.environ.get("COHERE_API_KEY"))
url = None if has_key else f"http://127.0.0.1:{server.server_port}"

# 1. A service is a reranker like any other. The key is read from the environment.
reranker = RemoteReranker("cohere", url=url, tries=2)
print(f"1. {reranker.name}")
show(reranker.rank(QUESTION, TEXTS))

# 2. The service is down. It is asked twice, then the bundled model ranks: the call does not fail,
#    and its receipt tells who ranked and why. `receipts` has the receipts of both.
Standin.mood = "ill"
print("2. the service is down")
ranking = reranker.rank(QUESTION, TEXTS)
show(ranking)
print(f"   receipts: {[receipt.model for receipt in ranking.receipt.receipts]}")

# 3. The service sleeps, and somebody waits. With a budget the bundled model begins in time.
Standin.mood = "asleep"
print("3. the service sleeps, and there are 1000 ms")
ranking = reranker.rank(QUESTION, TEXTS, budget_ms=1_000)
show(ranking)
print(f"   in time: {ranking.receipt.timings_ms['total'] < 1_500}")

reranker.close()

"""How do I rerank a hybrid query of LanceDB?

Run: pip install 'resift[lancedb]', then python examples/with_lancedb.py. Nothing is downloaded.
"""

import json
import tempfile

import lancedb
from lancedb.index import FTS
from lancedb.query import LanceHybridQueryBuilder

from resift.integrations.lancedb import ResiftReranker

QUESTION = "How can I cancel my plan?"

PASSAGES = [
    "How can I change my plan? Open Settings, choose Plan, and pick another size.",
    "How can I add people to my plan? Open Team, and choose Invite.",
    "You stop paying for the plan at the end of the month in which you cancel it.",
    "Invoices are in the archive of your account.",
]

# The vectors are made up here: a real table has those of an embedding model. The first one is
# nearest to the question's, so that the vector search is wrong, as it often is for close topics.
ROWS = [
    {"vector": [1.0, 0.1], "text": PASSAGES[0]},
    {"vector": [0.8, 0.2], "text": PASSAGES[1]},
    {"vector": [0.6, 0.6], "text": PASSAGES[2]},
    {"vector": [0.0, 1.0], "text": PASSAGES[3]},
]
QUESTION_VECTOR = [1.0, 0.0]

with tempfile.TemporaryDirectory() as folder:
    table = lancedb.connect(folder).create_table("help", ROWS)
    table.create_index("text", config=FTS())

    def search() -> LanceHybridQueryBuilder:
        """The vector search and the full-text search; LanceDB fuses them."""
        query = table.search(query_type="hybrid", vector_column_name="vector")
        return query.vector(QUESTION_VECTOR).text(QUESTION).limit(3)

    # 1. Without a reranker, the order is that of reciprocal rank fusion: of two lists that know the
    #    words or the vectors of the rows, but never read the question and a row together.
    print("LanceDB alone:", search().to_list()[0]["text"])

    # 2. With it, both lists go through the model. It reads the column `text`, another one with
    #    `column`. The order is new; rows and columns are as they were.
    reranker = ResiftReranker(budget_ms=2_000, return_status=True)
    result = search().rerank(reranker).to_arrow()
    for row in result.to_pylist():
        print(f"{row['_relevance_score']:.3f}  {row['_relevance_status']}  {row['text']}")

    # 3. What was done is in the metadata of the table, for each query of each thread its own.
    receipt = json.loads(result.schema.metadata[b"resift.receipt"])
    print(f"scored {receipt['scored']} of {receipt['depth']}, partial: {receipt['partial']}")

    # 4. The same object works for full-text queries. A vector query has no words: pass them.
    words = table.search(QUESTION, query_type="fts").rerank(reranker).limit(1).to_list()
    vectors = table.search(QUESTION_VECTOR).rerank(reranker, query_string=QUESTION).limit(3)
    print("full text:", words[0]["text"])
    print("vectors:  ", vectors.to_list()[0]["text"])

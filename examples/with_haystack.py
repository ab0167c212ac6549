"""How do I rerank in a Haystack pipeline, and keep the pipeline in a YAML file?

Run: pip install 'resift[haystack]', then python examples/with_haystack.py. Nothing is downloaded.
"""

import os

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"  # else Haystack reports its use to its makers

from haystack import Document, Pipeline
from haystack.components.retrievers.in_memory import InMemoryBM25Retriever
from haystack.document_stores.in_memory import InMemoryDocumentStore

from resift.integrations.haystack import ResiftRanker

QUESTION = "How can I cancel my plan?"

PASSAGES = {
    "change": "How can I change my plan? Open Settings, choose Plan, and pick another size.",
    "team": "How can I add people to my plan? Open Team, and choose Invite.",
    "pause": "Can I pause my plan? Yes, for up to three months, and you keep your data.",
    "cancel": "You stop paying for the plan at the end of the month in which you cancel it.",
}

# 1. The first stage: BM25 over a document store. Any retriever works, and so does a joiner behind
#    several. It is fast and only roughly right: let it return 20 to 100 documents.
store = InMemoryDocumentStore()
store.write_documents(
    [Document(id=name, content=text, meta={"page": name}) for name, text in PASSAGES.items()]
)

# 2. The second stage reads the question and each document together, and returns the best `top_k`.
#    With `budget_ms` it is done in time: documents that were not read by then follow the others in
#    the order of the first stage, with no score.
pipeline = Pipeline()
pipeline.add_component("retriever", InMemoryBM25Retriever(store, top_k=30))
pipeline.add_component("ranker", ResiftRanker(top_k=2, budget_ms=2_000))
pipeline.connect("retriever.documents", "ranker.documents")

# 3. A run. `include_outputs_from` shows what the first stage made of the question. The second
#    socket, `receipt`, tells what was read, how long that took, and what was left out.
result = pipeline.run(
    {"retriever": {"query": QUESTION}, "ranker": {"query": QUESTION}},
    include_outputs_from={"retriever"},
)
print(QUESTION)
print("first stage:", ", ".join(document.id for document in result["retriever"]["documents"]))
print("reranked:")
for document in result["ranker"]["documents"]:
    # The score is from 0 to 1. The documents are copies: those in the store did not change.
    print(f"  {document.score:.3f}  {document.id}: {document.content}")
receipt = result["ranker"]["receipt"]
print(f"read {receipt['scored']} of {receipt['depth']} documents, partial: {receipt['partial']}")

# 4. The YAML has the component with its arguments. Haystack imports only packages that you allow.
text = pipeline.dumps()
again = Pipeline.loads(text, allowed_modules=["resift.*"])
print("\nfrom YAML:", again.get_component("ranker").to_dict()["type"])

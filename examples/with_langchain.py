"""How do I put a reranker behind a LangChain retriever?

Run: pip install 'resift[langchain]', then python examples/with_langchain.py. Nothing is downloaded.
"""

from langchain_core.documents import Document
from langchain_core.runnables import RunnableLambda, RunnablePassthrough

from resift.integrations.langchain import ResiftReranker

QUESTION = "How can I cancel my plan?"

PASSAGES = {
    "change": "How can I change my plan? Open Settings, choose Plan, and pick another size.",
    "team": "How can I add people to my plan? Open Team, and choose Invite.",
    "pause": "Can I pause my plan? Yes, for up to three months, and you keep your data.",
    "cancel": "You stop paying for the plan at the end of the month in which you cancel it.",
}


# 1. The first stage. Any LangChain retriever works here: a vector store, BM25, several of them.
#    This one counts shared words, so that the example needs no other package. A first stage is
#    fast and roughly right: the passage that answers the question is in its list, but not on top,
#    because others share more words with the question.
def words(text: str) -> set[str]:
    """The words of a text, in lower case."""
    return {word.strip(".,:?").lower() for word in text.split()}


def by_shared_words(query: str) -> list[Document]:
    """All passages; those that share most words with the query come first."""
    documents = [Document(text, id=name) for name, text in PASSAGES.items()]
    return sorted(documents, key=lambda document: -len(words(query) & words(document.page_content)))


first_stage = RunnableLambda(by_shared_words)

# 2. The second stage reads the question and each passage together. `top_n` is what goes on to the
#    prompt. With `budget_ms`, a call ends in time: passages that were not read by then follow the
#    others in the order of the first stage, and their score is None.
reranker = ResiftReranker(top_n=2, budget_ms=2_000)

# 3. The chain: the first stage finds documents, and the reranker gets them with the query.
#    With `afunc`, `chain.ainvoke` does not block the event loop.
#    (`ContextualCompressionRetriever` of langchain-classic takes the reranker as it is.)
chain = {"documents": first_stage, "query": RunnablePassthrough()} | RunnableLambda(
    lambda step: reranker.compress_documents(**step),
    afunc=lambda step: reranker.acompress_documents(**step),
)

print(QUESTION)
print("first stage:", ", ".join(document.id for document in first_stage.invoke(QUESTION)))
print("reranked:")
for document in chain.invoke(QUESTION):
    # A score is from 0 to 1. The documents that the first stage made were not changed.
    print(f"  {document.metadata['relevance_score']:.3f}  {document.id}: {document.page_content}")

# 4. What did it cost, and was anything left out? `rank` returns the ranking with its receipt.
#    In a chain, callbacks get the receipt as the custom event `resift_receipt`.
receipt = reranker.rank(QUESTION, first_stage.invoke(QUESTION)).receipt
print(
    f"read {receipt.scored} of {receipt.depth} passages in {receipt.timings_ms['total']:.0f} ms,"
    f" partial: {receipt.partial}"
)

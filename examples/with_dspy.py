"""How does a DSPy program get the passages that answer its question?

Run: pip install 'resift[dspy]', then python examples/with_dspy.py. Nothing is downloaded, and no
language model is called: the program stops where the prompt would begin.
"""

import dspy

from resift.integrations.dspy import ResiftReranker

QUESTION = "How can I cancel my plan?"

PASSAGES = {
    "change": "How can I change my plan? Open Settings, choose Plan, and pick another size.",
    "team": "How can I add people to my plan? Open Team, and choose Invite.",
    "pause": "Can I pause my plan? Yes, for up to three months, and you keep your data.",
    "cancel": "You stop paying for the plan at the end of the month in which you cancel it.",
}


# 1. The first stage is any function of a query, or a DSPy module, such as `dspy.Embeddings`. This
#    one counts shared words. It returns all that may be relevant: let yours return 20 to 100.
def words(text: str) -> set[str]:
    """The words of a text, in lower case."""
    return {word.strip(".,:?").lower() for word in text.split()}


def by_shared_words(query: str) -> list[dict[str, str]]:
    """All passages; those that share most words with the query come first."""
    names = sorted(PASSAGES, key=lambda name: -len(words(query) & words(PASSAGES[name])))
    return [{"long_text": PASSAGES[name], "page": name} for name in names]


# 2. The second stage reads the question and each passage together, and returns the best `k`.
#    (`ResiftRetriever("s3://bucket/index")` is both stages, over an index of your documents.)
retriever = ResiftReranker(by_shared_words, k=2, budget_ms=2_000)


# 3. A program. The retriever is a module, so that optimisers may copy the program, and `save`
#    and `acall` work. Copies share the model.
class Support(dspy.Module):
    """Makes the context of an answer; a real one goes on with `dspy.ChainOfThought`."""

    def __init__(self) -> None:
        super().__init__()
        self.retriever = retriever

    def forward(self, question: str) -> dspy.Prediction:
        return dspy.Prediction(context=self.retriever(question).passages)


print(QUESTION)
print("first stage:", ", ".join(passage["page"] for passage in by_shared_words(QUESTION)))
print("context of the answer:")
for passage in Support()(question=QUESTION).context:
    print(f"  {passage}")

# 4. The prediction has a list for each field: those of the first stage stay with their passages.
#    Its receipt tells what was read, and what was left out for lack of time.
prediction = retriever(QUESTION)
for score, page, rank in zip(
    prediction.scores, prediction.page, prediction.first_stage_ranks, strict=True
):
    print(f"  {score:.3f}  {page}, at rank {rank} of the first stage")
print(f"read {prediction.receipt['scored']} passages, partial: {prediction.receipt['partial']}")

# 5. Programs that use `dspy.Retrieve` need no change: configure the retriever as `rm`.
dspy.configure(rm=retriever)
print("dspy.Retrieve:", dspy.Retrieve(k=1)(QUESTION).passages)

"""Prompts of causal rerankers as their authors publish them, and the tokens that answer.

The parts are tokenised as in the authors' code, so that ids are the same as there.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PublishedPrompt:
    """The texts of a `CausalPrompt`; those of `middle` and `suffix` are tokenised one by one.

    `model` names who publishes it. The logit is that of the token `relevant`, less that of
    `irrelevant` if there is one. With `begins`, rows begin with the tokenizer's first token.
    """

    model: str
    relevant: str
    irrelevant: str | None
    prefix: str
    before_query: str
    suffix: tuple[str, ...]
    after_query: str = ""
    middle: tuple[str, ...] = ()
    before_document: str = " "
    begins: bool = False


QWEN3_RERANKER = PublishedPrompt(
    model="Qwen/Qwen3-Reranker",
    relevant="yes",
    irrelevant="no",
    prefix=(
        "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query "
        'and the Instruct provided. Note that the answer can only be "yes" or "no".<|im_end|>\n'
        "<|im_start|>user\n"
    ),
    before_query=(
        "<Instruct>: Given a web search query, retrieve relevant passages that answer the query\n"
        "<Query>: "
    ),
    after_query="\n<Document>:",
    suffix=("<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",),
)

MXBAI_V2 = PublishedPrompt(
    model="mixedbread-ai/mxbai-rerank-v2",
    relevant="1",
    irrelevant="0",
    prefix=(
        "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant."
        "<|im_end|>\n<|im_start|>user\n"
    ),
    before_query="query: ",
    middle=("\n", "document:"),
    suffix=(
        "\n",
        "You are a search relevance expert who evaluates how well documents match search queries. "
        "For each query-document pair, carefully analyze the semantic relationship between them, "
        "then provide your binary relevance judgment (0 for not relevant, 1 for relevant).\n"
        "Relevance:",
        "<|im_end|>\n<|im_start|>assistant\n",
    ),
)

BGE_GEMMA = PublishedPrompt(
    model="BAAI/bge-reranker-v2-gemma",
    relevant="Yes",
    irrelevant=None,
    prefix="",
    before_query="A: ",
    middle=("\n", "B:"),
    suffix=(
        "\n",
        "Given a query A and a passage B, determine whether the passage contains an answer to the "
        "query by providing a prediction of either 'Yes' or 'No'.",
    ),
    begins=True,
)

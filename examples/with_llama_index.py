"""How do I search my files in LlamaIndex without a vector database or a server?

Run: pip install 'resift[llama-index,index]', then python examples/with_llama_index.py. Nothing is
downloaded, and nothing leaves the machine.
"""

import tempfile
from pathlib import Path

from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import get_response_synthesizer

from resift import Index
from resift.integrations.llama_index import ResiftRerank, ResiftRetriever

QUESTION = "Will you reimburse me if my parcel is broken?"

FILES = {
    "hours.md": "# Opening hours\n\nYour parcel will be here until five, if we are open.",
    "price.md": "# Prices\n\nIf your parcel weighs less than five kilograms, it costs six euros.",
    "damage.md": "# Complaints\n\nWe refund a damaged parcel in full, after you send us a photo of "
    "what was in the box.",
    "jobs.md": "# Jobs\n\nWe are looking for drivers who like to work outdoors.",
}

with tempfile.TemporaryDirectory() as folder:
    # 1. The documents: files in a folder, or in a bucket (s3://…). They are Markdown here; PDF,
    #    HTML, tables and source code work too.
    source = Path(folder, "documents")
    source.mkdir()
    for name, text in FILES.items():
        (source / name).write_text(text, encoding="utf-8")

    # 2. The index: a folder or a bucket as well. `sync` adds what is new and removes what is gone.
    index = Index(Path(folder, "index"))
    index.sync(str(source))

    # 3. A retriever for LlamaIndex. It finds `depth` candidates by keywords and by vectors, and
    #    reranks them. All arguments of `Index.search` work: `where`, `mode`, `budget_ms`, …
    retriever = ResiftRetriever(index, top_n=2, depth=4)
    for node in retriever.retrieve(QUESTION):
        # Each node tells where it comes from, down to the line.
        citation = node.metadata["citation"]
        print(f"{node.score:.3f}  {Path(citation['uri']).name}, line {citation['line']}")

    # 4. A query engine. The LLM here is a stand-in that repeats its prompt: one can see what an LLM
    #    would read. Put in any LLM of LlamaIndex.
    engine = RetrieverQueryEngine(
        retriever=retriever,
        response_synthesizer=get_response_synthesizer(llm=MockLLM()),
    )
    print(engine.query(QUESTION))

    # 5. With another retriever, only the second stage is resift's: ResiftRerank is a node
    #    postprocessor. Here it gets what shares most words with the question, not reranked yet.
    first_stage = ResiftRetriever(index, top_n=4, mode="lexical", rerank=False)
    nodes = first_stage.retrieve(QUESTION)
    ranked = ResiftRerank(top_n=1).postprocess_nodes(nodes, query_str=QUESTION)
    print("first stage:", [Path(node.metadata["source"]).stem for node in nodes])
    print("reranked:   ", [Path(node.metadata["source"]).stem for node in ranked])
    index.close()

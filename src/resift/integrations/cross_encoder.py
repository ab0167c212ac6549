"""`CrossEncoder`, in the shape of ``sentence_transformers.CrossEncoder``: pairs in, scores out."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from resift.errors import InputError, shown
from resift.extras import require
from resift.integrations.activation import Activation, activated, model_activation
from resift.integrations.pairs import Scores, number_or_nan, score_pairs
from resift.rerank.candidates import iterate, refuse_collection
from resift.rerank.options import checked_count
from resift.rerank.reranker import Reranker
from resift.settings import Settings
from resift.types import DocumentLike

_NO_USE = {"device", "backend", "trust_remote_code", "model_kwargs", "num_workers", "pool"} | {
    "batch_size", "show_progress_bar", "chunk_size", "convert_to_numpy", "convert_to_tensor",
}  # fmt: skip
"""Options of sentence-transformers that change no score here."""

_PROMPT = "resift reads the prompt in the model's own configuration; leave it out"
_REMEDIES = {
    "prompt": _PROMPT,
    "prompt_name": _PROMPT,
    "prompts": _PROMPT,
    "apply_softmax": "a pair has one score here: name the label's column with label=…",
    "cache_folder": "set XDG_CACHE_HOME",
    "token": "set HF_TOKEN",
}


class CrossEncoder:
    """A drop-in for ``sentence_transformers.CrossEncoder`` on the CPU, without torch.

    `model_name_or_path` is what `Reranker` opens (None is the bundled model), or a `Reranker`.
    `reranker` has that object, whose rankings have receipts, and which has asynchronous calls.

    Scores are those of `Reranker.rank`: of a converted checkpoint the sigmoid of the logit, as
    sentence-transformers gives it for one label, and with a calibration the probability.
    A checkpoint whose configuration names the identity, such as ``cross-encoder/ms-marco-…``, gives
    logits. A head with several labels gives one score: that of `label`.

    Options that change no score, such as `device`, are accepted and ignored. Others that resift
    does not have raise `InputError` if they are set. Threads may share the object. It pickles.
    Raises as `Reranker` does.
    """

    def __init__(
        self,
        model_name_or_path: str | os.PathLike[str] | Reranker | None = None,
        *,
        revision: str | None = None,
        label: str | int | None = None,
        calibration: str | os.PathLike[str] | None = None,
        settings: Settings | None = None,
        activation_fn: Activation = None,
        max_length: int | None = None,
        num_labels: int | None = None,
        **options: Any,
    ) -> None:
        _refuse_options(options)
        if num_labels not in (None, 1):
            raise InputError(
                f"num_labels={shown(num_labels)}: a pair has one score here; name the label's "
                "column with label=…"
            )
        self.activation_fn = activation_fn
        opening = {
            "revision": revision,
            "label": label,
            "calibration": calibration,
            "settings": settings,
        }
        if model_name_or_path is None or isinstance(model_name_or_path, str | os.PathLike):
            self.reranker = Reranker(model_name_or_path, **opening)  # type: ignore[arg-type]
        else:
            for name, value in opening.items():
                if value is not None:
                    raise InputError(f"{name}={shown(value)}: this reranker is open; leave it out")
            self.reranker = model_name_or_path
        if activation_fn is None and calibration is None:
            self.activation_fn = model_activation(self.reranker)
        most = checked_count("max_length", max_length)
        if most is not None and most < self.max_seq_length:
            raise InputError(
                f"max_length={most}: {self.reranker.name} reads {self.max_seq_length} tokens and "
                "cannot be told to read less; leave it out"
            )

    @property
    def num_labels(self) -> int:
        """How many scores a pair has: 1."""
        return 1

    @property
    def max_seq_length(self) -> int:
        """The most tokens that the model reads at once: `Reranker.max_tokens`."""
        return self.reranker.max_tokens

    max_length = max_seq_length

    def __repr__(self) -> str:
        return f"CrossEncoder({self.reranker!r})"

    def predict(
        self,
        inputs: Any = None,
        *,
        activation_fn: Activation = None,
        activation_fct: Activation = None,
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        budget_ms: float | None = None,
        sentences: Any = None,
        **options: Any,
    ) -> Any:
        """Scores of pairs ``(query, document)`` in input order, float32 ``(n,)``; of one pair one.

        Pairs of one query are scored together, and those of different queries share batches. A
        score depends on its pair alone. It is NaN for a document that cannot be read (empty or not
        text) and for one that was not scored in time.

        Args:
            inputs: A list of pairs, or one pair.
            activation_fn: "sigmoid", "identity", or a function of a tensor of logits ``(n, 1)``
                (torch's `Sigmoid` and `Identity` count as names); None is the model's.
            activation_fct: The older name of `activation_fn`.
            convert_to_numpy: False gives a list of tensors.
            convert_to_tensor: True gives one tensor.
            budget_ms: Milliseconds for the whole call; None means no limit.
            sentences: The older name of `inputs`.
            options: Others of sentence-transformers: ignored if they change no score.

        Raises:
            QueryError: A query is one that `Reranker.rank` refuses.
            InputError: An item is no pair, or an option is one that resift does not have.
            MissingExtra: A tensor or a function needs torch, which is not installed.

        """
        _refuse_options(options)
        pairs = _listed(sentences if inputs is None else inputs)
        is_single = _is_pair(pairs)
        logits, scores = score_pairs(self.reranker, [pairs] if is_single else pairs, budget_ms)
        scores = self._activated(activation_fn or activation_fct, logits, scores)
        if convert_to_numpy and not convert_to_tensor:
            return scores[0] if is_single else scores
        tensor = require("torch").from_numpy(scores)
        if is_single:
            return tensor[0]
        return tensor if convert_to_tensor else list(tensor)

    def rank(
        self,
        query: str,
        documents: Sequence[DocumentLike],
        top_k: int | None = None,
        return_documents: bool = False,
        *,
        activation_fn: Activation = None,
        activation_fct: Activation = None,
        budget_ms: float | None = None,
        exact: bool = False,
        **options: Any,
    ) -> list[dict[str, Any]]:
        """The documents in the order of ``Reranker.rank(query, documents, top_k)``, as dicts.

        ``corpus_id`` is the position in `documents`, ``score`` a float, and with `return_documents`
        ``text`` is the document as it was passed. The order is by logit, whatever the activation
        is. Documents without a score have NaN and come last. The arguments are as in `predict` and
        `Reranker.rank`, and the errors too.
        """
        _refuse_options({**options, "apply_softmax": None})
        refuse_collection(documents)
        documents, top_n = list(iterate(documents)), checked_count("top_k", top_k)
        ranking = self.reranker.rank(query, documents, top_n, budget_ms=budget_ms, exact=exact)
        logits = np.array([number_or_nan(hit.logit) for hit in ranking], np.float32)
        scores = np.array([number_or_nan(hit.score) for hit in ranking], np.float32)
        scores = self._activated(activation_fn or activation_fct, logits, scores)
        rows: list[dict[str, Any]] = []
        for hit, score in zip(ranking, scores.tolist(), strict=True):
            rows.append({"corpus_id": hit.index, "score": score})
            if return_documents:
                rows[-1]["text"] = documents[hit.index]
        return rows

    def _activated(self, activation: Activation, logits: Scores, scores: Scores) -> Scores:
        activation = activation or self.activation_fn
        return scores if activation is None else activated(activation, logits)


def _listed(inputs: Any) -> Any:
    if isinstance(inputs, str | bytes | Mapping) or not isinstance(inputs, Iterable):
        raise InputError(
            f"inputs={shown(inputs)}: expected a list of pairs, [(query, document), …], or one pair"
        )
    return inputs


def _is_pair(inputs: Any) -> bool:
    """Whether the input is one pair, by the rule of sentence-transformers."""
    if isinstance(inputs, np.ndarray):
        return inputs.size > 0 and inputs.ndim == 1
    if isinstance(inputs, list | tuple):
        return len(inputs) > 0 and not isinstance(inputs[0], list | tuple | np.ndarray)
    return False


def _refuse_options(options: Mapping[str, Any]) -> None:
    """Raise `InputError` for an option that is set, that resift lacks, and that has an effect."""
    for name, value in options.items():
        if name not in _NO_USE and value is not None and value is not False:
            remedy = _REMEDIES.get(name, "leave it out")
            raise InputError(f"{name}={shown(value)}: resift has no such option; {remedy}")

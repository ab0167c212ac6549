"""The prompt of a causal reranker's checkpoint, as ids and texts, and the tokens that answer."""

import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from resift.convert.chat_template import PromptTexts, prompt_texts, read_chat_template
from resift.convert.config import Config, read_object
from resift.convert.modules import LOGIT_SCORE, module_folder, read_prompts, transformer_folder
from resift.convert.published_prompts import PublishedPrompt
from resift.errors import ModelError
from resift.rerank.causal_prompt import CausalPrompt
from resift.rerank.checkpoint_files import CONFIG, MODULES

_log = logging.getLogger("resift")


@dataclass(frozen=True, slots=True)
class AnswerTokens:
    """The token whose logit means relevance, and the one whose logit is subtracted, if any."""

    relevant: int
    irrelevant: int | None

    @property
    def highest(self) -> int:
        return max(self.relevant, -1 if self.irrelevant is None else self.irrelevant)


def read_answer_tokens(
    folder: Path, tokenizer: Tokenizer, published: PublishedPrompt
) -> AnswerTokens:
    """Those of the module LogitScore, or those published. Raises `ModelError`."""
    if not (folder / MODULES).is_file():
        return _published_tokens(folder, tokenizer, published)
    file = module_folder(folder, LOGIT_SCORE) / CONFIG
    settings = read_object(file)
    relevant: Any = settings.get("true_token_id")
    irrelevant: Any = settings.get("false_token_id")
    if not _is_id(relevant) or not (irrelevant is None or _is_id(irrelevant)):
        raise ModelError(
            f"{file}: true_token_id {relevant!r} and false_token_id {irrelevant!r}; expected ids "
            "of tokens, the second one or null"
        )
    return AnswerTokens(relevant, irrelevant)


def _is_id(value: object) -> bool:
    return type(value) is int and value >= 0


def _published_tokens(
    folder: Path, tokenizer: Tokenizer, published: PublishedPrompt
) -> AnswerTokens:
    words = (published.relevant, published.irrelevant)
    ids = [None if word is None else tokenizer.token_to_id(word) for word in words]
    missing = [word for word, number in zip(words, ids, strict=True) if word and number is None]
    if missing:
        raise ModelError(
            f"{folder}: its tokenizer has no token {missing[0]!r}, with which {published.model} "
            "answers; expected a causal reranker"
        )
    relevant, irrelevant = ids
    return AnswerTokens(int(relevant or 0), irrelevant)


def read_prompt(
    folder: Path,
    config: Config,
    tokenizer: Tokenizer,
    published: PublishedPrompt,
    answer_tokens: AnswerTokens,
) -> CausalPrompt:
    """The prompt of the chat template, or the one that is published. Raises `ModelError`.

    The default prompt of sentence-transformers' settings is the chat template's instruction.
    """
    instruction = read_prompts(folder).default
    template = read_chat_template(transformer_folder(folder))
    texts = None if template is None else prompt_texts(template, instruction)
    if texts is not None:
        return _from_texts(texts, tokenizer)
    is_like_published = answer_tokens == _published_tokens(folder, tokenizer, published)
    if instruction or not is_like_published:
        raise ModelError(
            f"{folder}: its chat template is missing, or does more than to fill in a query and a "
            "document, and cannot be read; expected one such as that of Qwen/Qwen3-Reranker-0.6B"
        )
    _log.warning("%s: has no prompt that can be read; using that of %s", folder, published.model)
    return _from_published(published, config, tokenizer)


def _from_texts(texts: PromptTexts, tokenizer: Tokenizer) -> CausalPrompt:
    """Texts without special tokens are joined to query and document by the tokenizer."""
    special = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
    prefix, before_query = _split_last(texts.before, special)
    after_query, middle = _split_first(texts.between, special)
    between = middle or after_query
    before_document = between[len(between.rstrip()) :]
    if middle:
        middle = middle.removesuffix(before_document)
    else:
        after_query = after_query.removesuffix(before_document)
    return CausalPrompt(
        prefix=_ids(tokenizer, [prefix]),
        before_query=before_query,
        after_query=after_query,
        middle=_ids(tokenizer, [middle]),
        before_document=before_document,
        suffix=_ids(tokenizer, [texts.after]),
    )


def _from_published(
    published: PublishedPrompt, config: Config, tokenizer: Tokenizer
) -> CausalPrompt:
    begin = (config.whole("bos_token_id"),) if published.begins else ()
    return CausalPrompt(
        prefix=(*begin, *_ids(tokenizer, [published.prefix])),
        before_query=published.before_query,
        after_query=published.after_query,
        middle=_ids(tokenizer, published.middle),
        before_document=published.before_document,
        suffix=_ids(tokenizer, published.suffix),
    )


def _ids(tokenizer: Tokenizer, texts: Iterable[str]) -> tuple[int, ...]:
    """The ids of texts one after the other, special tokens in them included."""
    encoded = (tokenizer.encode(text, add_special_tokens=False).ids for text in texts if text)
    return tuple(int(number) for ids in encoded for number in ids)


def _split_last(text: str, special: list[str]) -> tuple[str, str]:
    """A text up to the end of its last special token, and the rest."""
    ends = [match.end() for match in _specials(text, special)]
    return (text[: ends[-1]], text[ends[-1] :]) if ends else ("", text)


def _split_first(text: str, special: list[str]) -> tuple[str, str]:
    """A text up to its first special token, and the rest."""
    starts = [match.start() for match in _specials(text, special)]
    return (text[: starts[0]], text[starts[0] :]) if starts else (text, "")


def _specials(text: str, special: list[str]) -> list[re.Match[str]]:
    if not special:
        return []
    names = sorted(special, key=len, reverse=True)
    return list(re.finditer("|".join(map(re.escape, names)), text))

"""What reranks a window in an evaluation: a model and its setting, at many depths at once."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from resift.errors import InputError
from resift.rerank.reranker import Reranker
from resift.types import Candidate

EARLY_EXIT_TOP_N = 10  # the measures' cutoff


@dataclass(frozen=True, slots=True)
class Setting:
    """A reranker to compare: `model` is a folder or ``bundled``; None is the settings' own.

    `exact` reads every pair through every stage, so that one reading gives all depths; otherwise
    each depth is raced for its first ten, as a search does.
    """

    label: str
    model: str | None = None
    fusion_weight: float | None = None
    exact: bool = True


def parse_setting(text: str) -> Setting:
    """``MODEL[?fusion_weight=W][&exact=false]``, MODEL a folder or ``bundled``.

    Raises `InputError` for an option that there is not.
    """
    model, _, options = text.partition("?")
    if not model.strip():
        raise InputError(
            f"--compare {text!r}: names no model; expected FOLDER or bundled, such as "
            "bundled?exact=false"
        )
    values: dict[str, Any] = {"label": text, "model": model}
    for option in filter(None, options.split("&")):
        name, _, value = option.partition("=")
        try:
            values[name] = _READ[name](value)
        except (KeyError, ValueError) as error:
            raise InputError(
                f"{text}: {option} is no setting; expected fusion_weight=NUMBER or exact=false"
            ) from error
    return Setting(**values)


@dataclass(frozen=True, slots=True)
class Orders:
    """One window, reranked.

    `places` are the candidates' places, best first, by (depth, weight), None the setting's weight.
    `ms` are milliseconds by depth, where that was timed; `tokens` by depth. What came out of a pair
    cache (`recalled`) is not timed: nobody's next query is so quick.
    """

    places: Mapping[tuple[int, float | None], Sequence[int]]
    ms: Mapping[int, float]
    tokens: Mapping[int, int]
    recalled: bool = False


class SecondStage:
    """A reranker under one setting."""

    def __init__(self, setting: Setting, reranker: Reranker) -> None:
        self.setting = setting
        self.reranker = reranker

    def orders(
        self,
        query: str,
        candidates: Sequence[Candidate],
        depths: Sequence[int],
        weights: Sequence[float],
        timed: bool,
    ) -> Orders:
        """Rerank to each depth and with each weight; `depths` rise.

        `timed` reads depth by depth, to know what each costs. Raises `ResiftError` for a query
        that cannot be read.
        """
        if not self.setting.exact:
            return self._with_early_exit(query, candidates, depths)
        scored = self.reranker.score_candidates(query, candidates, steps=depths if timed else ())
        own = self.setting.fusion_weight
        places = {
            (depth, weight): scored.order(
                depth=depth, fusion_weight=own if weight is None else weight
            )
            for depth in depths
            for weight in (None, *weights)
        }
        deepest = len(candidates)
        ms = {depth: scored.took_ms[min(depth, deepest)] for depth in depths
              if min(depth, deepest) in scored.took_ms}  # fmt: skip
        if timed:  # in steps it takes longer than at once
            ms.pop(depths[-1], None)
        tokens = {depth: scored.tokens(depth) for depth in depths}
        return Orders(places, {} if scored.cached else ms, tokens, scored.cached)

    def _with_early_exit(
        self, query: str, candidates: Sequence[Candidate], depths: Sequence[int]
    ) -> Orders:
        """Each depth on its own; what the early exit left out keeps its order behind the first ten."""
        places: dict[tuple[int, float | None], Sequence[int]] = {}
        ms, tokens, recalled = {}, {}, False
        for depth in depths:
            start = time.perf_counter()
            ranking = self.reranker.rank(
                query,
                candidates[:depth],
                EARLY_EXIT_TOP_N,
                fusion_weight=self.setting.fusion_weight,
            )
            ms[depth] = (time.perf_counter() - start) * 1000
            tokens[depth] = ranking.receipt.tokens
            recalled = recalled or ranking.receipt.cached > 0
            first = [hit.index for hit in ranking]
            rest = set(range(len(candidates[:depth]))) - set(first)
            places[depth, None] = [*first, *sorted(rest)]
        return Orders(places, {} if recalled else ms, tokens, recalled)


def _weight(text: str) -> float:
    weight = float(text)
    if not 0 <= weight < math.inf:
        raise ValueError(text)
    return weight


def _flag(text: str) -> bool:
    return {"true": True, "false": False}[text.lower()]


_READ: Mapping[str, Callable[[str], object]] = {"fusion_weight": _weight, "exact": _flag}

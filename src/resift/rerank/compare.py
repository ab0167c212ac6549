"""Why one hit of a ranking stands above another, in numbers and in a sentence.

Pure: it reckons with what the hits say of themselves, as `order` did. Knows no model.
"""

from resift.types import Basis, Comparison, Explanation, Hit

QUOTE = 60  # characters of a sentence


def compared(
    above: Hit, below: Hit, above_explained: Explanation | None, below_explained: Explanation | None
) -> Comparison:
    """`above` has the lower rank of the two; explanations are of these hits, where there are any.

    Of rankings that went through early exits: a hit with fewer stages and a higher sum was pruned.
    """
    lead, logit, fusion, feedback = _differences(above, below)
    basis = _basis(above, below, lead)
    return Comparison(
        above=above,
        below=below,
        basis=basis,
        lead=lead,
        logit=logit,
        fusion=fusion,
        feedback=feedback,
        above_explained=above_explained,
        below_explained=below_explained,
        summary=_sentence(above, below, basis, lead)
        + _shares(
            [
                (logit, f"from the logit{_against(above_explained, below_explained)}"),
                (fusion, "from the first stage"),
                (feedback, "from likeness to the leaders"),
            ]
        ),
    )


def _differences(above: Hit, below: Hit) -> tuple[float, ...] | tuple[None, ...]:
    """Of what the order is by, and of each of its parts; None where there is nothing to take."""
    if above.logit is None or below.logit is None:
        return None, None, None, None
    return (
        (above.logit + above.fusion + above.feedback)
        - (below.logit + below.fusion + below.feedback),
        above.logit - below.logit,
        above.fusion - below.fusion,
        above.feedback - below.feedback,
    )


def _basis(above: Hit, below: Hit, lead: float | None) -> Basis:
    if lead is None:
        return "first_stage" if above.logit is None else "unscored"
    if lead == 0:
        return "tie"
    return "score" if lead > 0 else "exit"


def _sentence(above: Hit, below: Hit, basis: Basis, lead: float | None) -> str:
    one, other = f"rank {above.rank}", f"rank {below.rank}"
    if basis == "first_stage":
        return f"{one} and {other} keep the first stage's order: {above.status}, {below.status}"
    if basis == "unscored":
        return f"{one} stands above {other}, which has no score: {below.status}"
    if basis == "tie":
        last = "a higher logit" if above.logit != below.logit else "an earlier place in the list"
        return f"{one} and {other} are level; {last} came first"
    if basis == "exit":
        return (
            f"{one} stands above {other}, which was let go after stage {below.stages} of the model"
            f" although it led by {-(lead or 0.0):.2f} then"
        )
    return f"{one} stands above {other} by {lead:.2f}"


def _shares(shares: list[tuple[float | None, str]]) -> str:
    """Those that are not 0, with their sign."""
    said = [f"{value:+.2f} {what}" for value, what in shares if value]
    return f": {', '.join(said)}" if said else ""


def _against(above: Explanation | None, below: Explanation | None) -> str:
    """The strongest sentence of each, where one is known."""
    said = [quoted for own in (above, below) if own and (quoted := _strongest(own))]
    return f" ({' against '.join(said)})" if said else ""


def _strongest(own: Explanation) -> str:
    for part in own.strongest(1):
        words = " ".join(part.text[: 4 * QUOTE].split())
        short = words if len(words) <= QUOTE else words[: QUOTE - 1].rstrip() + "…"
        return f"“{short}” {part.effect:+.2f}"
    return ""

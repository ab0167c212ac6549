"""Threads that work for others: how they begin, and what those hear whom their end leaves waiting.

None keeps a process from ending; `native` sees that none is stopped where that would abort it.
"""

import threading
from collections.abc import Callable

from resift.errors import RuntimeFailure
from resift.rerank.runtimes import first_line


def started(name: str, work: Callable[[], None]) -> threading.Thread:
    """A thread at work that keeps no process from ending. Raises `RuntimeFailure` for none."""
    thread = threading.Thread(target=work, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError as error:  # the machine has no more, or the interpreter is ending
        raise RuntimeFailure(
            f"the model's thread cannot be started ({error}); "
            "let other threads end, or raise the limit on them"
        ) from error
    return thread


def ended(error: BaseException) -> RuntimeFailure:
    """What they hear who waited for a thread that an unforeseen error ended."""
    said = f"the model's thread ended: {type(error).__name__}: {first_line(error)}; try again"
    failure = RuntimeFailure(said)
    failure.__cause__ = error
    return failure

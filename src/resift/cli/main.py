"""The ``resift`` command: exit codes and error messages.

0 done, 1 a clear error in one line, 2 wrong usage, 3 a gate not met, 130 interrupted.
"""

import sys  # imports nothing slow, because Ctrl-C may come during the import

_OPTIONS = {"address": "--ray"}
"""Options that are not named as the argument that they set."""

REPORT = "this is a bug in resift: please report it with what RESIFT_DEBUG=1 prints"


def run() -> None:
    """Run the command line and end the process with an exit code, never with a traceback."""
    try:
        code = _run()
        _ignore_interrupts()
    except KeyboardInterrupt:  # during imports, or at the end
        code = 130
        _ignore_interrupts()
    sys.exit(code)


def _ignore_interrupts() -> None:
    """Ignore Ctrl-C during shutdown, where the signal would kill the process."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _run() -> int:
    from resift.cli import streams

    streams.prepare_size()  # before rich and typer are imported
    streams.prepare_streams()
    from resift.cli import output

    with output.log_to_stderr():
        code = _run_verb()
    try:
        streams.flush_stdout()
    except (OSError, ValueError) as error:
        streams.discard(streams.STDOUT)
        code = code or _stdout_failed(error)
    return code


def _run_verb() -> int:
    """Run the verb and print its error; returns the exit code."""
    from resift.cli import streams
    from resift.errors import BelowFloor, ResiftError

    try:
        from resift.cli.app import app

        app()
    except SystemExit as end:
        return _exit_code(end)
    except ResiftError as error:
        _print_error(_as_typed(error), error)
        return 3 if isinstance(error, BelowFloor) else 1
    except MemoryError as error:
        _print_error("out of memory; give this process more", error)
    except Exception as error:
        if streams.is_stdout_failure(error):
            streams.discard(streams.STDOUT)
            return _stdout_failed(error)
        _print_error(_machine_limit(error) or f"{type(error).__name__}: {error}; {REPORT}", error)
    return 1


def _machine_limit(error: Exception) -> str | None:
    """Describe the limit of the machine that caused the error (open files, disk space), or None."""
    from resift.files import remedy

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and (hint := remedy(cause.errno)):
            return f"{cause.filename}: {hint}" if cause.filename else hint
        cause = cause.__cause__
    return None


def _exit_code(end: SystemExit) -> int:
    if end.code is None or isinstance(end.code, int):
        return end.code or 0
    _print_error(str(end.code), end)
    return 1


def _stdout_failed(error: Exception) -> int:
    """The exit code if stdout fails. Prints an error, except for a closed pipe (``| head``)."""
    if not isinstance(error, BrokenPipeError):
        from resift.files import reason

        detail = reason(error) if isinstance(error, OSError) else error
        _print_error(f"the output cannot be written: {detail}", error)
    return 1


def _print_error(message: str, error: BaseException) -> None:
    """Print one line on stderr; with ``RESIFT_DEBUG`` the traceback too."""
    from rich.markup import escape

    from resift.cli.output import errors, print_traceback, printable

    line = escape(" ".join(printable(message).split()))
    errors.print(f"[bold red]error:[/] {line}", soft_wrap=True, highlight=False)
    print_traceback(error)


def _as_typed(error: Exception) -> str:
    """The message, with an argument's name replaced by the option that was typed."""
    import re

    from resift.errors import DatasetError, InputError

    message = re.sub(r",? or None\b( for all)?", "", str(error))  # no option can be None
    message = message.replace("search with rerank=False", "search with --no-rerank")
    is_of_argument = isinstance(error, InputError | DatasetError)
    if not is_of_argument:
        return message
    typed = {word.split("=")[0] for word in sys.argv}

    def option(named: re.Match[str]) -> str:
        name = _OPTIONS.get(named[1], f"--{named[1].replace('_', '-')}")
        return f"{name} " if name in typed else named[0]

    # A message may name several arguments: "tls_cert=a.pem, tls_key=b.pem: cannot be used".
    return re.sub(r"(?:^|(?<=, ))([a-z][a-z0-9_]*)=", option, message)

"""Logs: one event a line on standard output, JSON or text for a terminal, and no secret in any.

Modules log by `structlog.get_logger()`; what libraries write by `logging` takes the same way out.
"""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO, cast

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from shaker.settings.secrets import masked
from shaker.text import printable
from shaker.watch.output import Footer, LineWriter

STDOUT = 1  # the file descriptor

_writer: LineWriter | None = None


def hide_secrets(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Return `event` without any hidden secret in its strings: the last guard, not the rule that none gets here."""
    return masked(event)


def _printable(logger: WrappedLogger, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    # A key or a server's answer with terminal escapes must not reach a terminal as such.
    # Nor may a line end in it pass for a line of the log; only tracebacks, which the worker makes itself, have lines.
    return {
        name: printable(value) if isinstance(value, str) and name != "exception" else value
        for name, value in event.items()
    }


def write_aside() -> None:
    """Have `configure` write by a thread from now on, so that a standard output that nobody reads stops nothing."""
    global _writer
    _writer = _writer or LineWriter(STDOUT, _report_dropped)


def footer(level: str) -> Footer | None:
    """Return a last line of the terminal below the log, which is reduced to warnings where `level` is `info`.

    None where logs are not written aside. What the progress shows, the log need not say once more.
    """
    if _writer is None:
        return None
    found = Footer(_writer)
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and getattr(handler, "of_shaker", False):
            handler.setStream(found)
            handler.setLevel("WARNING" if level == "info" else level.upper())
    return found


def close() -> None:
    """Give the last lines a second to be written."""
    if _writer is not None:
        _writer.close()


def dropped_lines() -> int:
    """Return how many lines were dropped because standard output did not take them."""
    return 0 if _writer is None else _writer.dropped


def _report_dropped(count: int) -> None:
    structlog.get_logger("shaker").warning(
        "log lines dropped", count=count, hint="standard output was not read, closed or full: look at what reads it"
    )


def configure(format: str = "auto", level: str = "info") -> None:  # noqa: A002 - the setting's own name
    """Send all logs of this process to standard output.

    `format` is `json`, `console`, or `auto`: console on a terminal, else JSON. `level` is the least level
    written: `debug`, `info`, `warning` or `error`. May be called again, for instance with other settings.
    """
    terminal = sys.stdout.isatty()
    console = format == "console" or (format == "auto" and terminal)
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp"),
        # Tracebacks as text: the structured and the rich ones show local variables, which may hold values.
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    if console:
        last: list[Processor] = [
            _printable,
            structlog.dev.ConsoleRenderer(colors=terminal, exception_formatter=structlog.dev.plain_traceback),
        ]
    else:
        last = [structlog.processors.JSONRenderer(ensure_ascii=True)]
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A key that is not UTF-8 must not cost the line that names it.
        sys.stdout.reconfigure(errors="backslashreplace")
    handler = logging.StreamHandler(sys.stdout if _writer is None else cast(TextIO, _writer))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, hide_secrets, *last],
        )
    )
    root = logging.getLogger()
    for old in list(root.handlers):
        if getattr(old, "of_shaker", False):
            root.removeHandler(old)
    handler.of_shaker = True  # type: ignore[attr-defined]
    root.addHandler(handler)
    root.setLevel(level.upper())
    # A reader of our output that went away must not end the replication.
    logging.raiseExceptions = False
    # Below this, asyncio reports on itself only.
    logging.getLogger("asyncio").setLevel(logging.DEBUG if level == "debug" else logging.WARNING)

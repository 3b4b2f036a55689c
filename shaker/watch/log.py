"""Logs: one event a line on standard output, as JSON or text for a terminal, without secrets.

Modules log by `structlog.get_logger()`; records of libraries from `logging` take the same path.
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
    """Return `event` with secrets masked: the last guard, since none should get here."""
    return masked(event)


def _printable(logger: WrappedLogger, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    # Keys and answers of servers may hold terminal escapes and line ends. Neither may reach the terminal: a line end
    # could fake a line of the log. Only tracebacks, which the worker makes itself, have several lines.
    return {
        name: printable(value) if isinstance(value, str) and name != "exception" else value
        for name, value in event.items()
    }


def write_aside() -> None:
    """Make `configure` write from a thread, so that an unread standard output blocks nothing."""
    global _writer
    _writer = _writer or LineWriter(STDOUT, _report_dropped)


def footer(level: str) -> Footer | None:
    """Return a last line of the terminal below the log, and reduce the log to warnings if `level` is `info`.

    None if logs are not written from a thread. The log need not repeat the progress that the line shows.
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
    """Wait up to a second until the last lines are written."""
    if _writer is not None:
        _writer.close()


def dropped_lines() -> int:
    """Return the number of lines dropped because standard output did not accept them."""
    return 0 if _writer is None else _writer.dropped


def _report_dropped(count: int) -> None:
    structlog.get_logger("shaker").warning(
        "log lines dropped", count=count, hint="standard output was not read, closed or full: check its reader"
    )


def configure(format: str = "auto", level: str = "info") -> None:  # noqa: A002 - the setting's own name
    """Send all logs of this process to standard output.

    `format` is `json`, `console`, or `auto`: console on a terminal, else JSON. `level` is the minimum level
    written: `debug`, `info`, `warning` or `error`. May be called again with other settings.
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
        # A key that is not UTF-8 must not lose the line that names it.
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
    # A reader that closes our output must not end the replication.
    logging.raiseExceptions = False
    # Below this level, asyncio reports only on itself.
    logging.getLogger("asyncio").setLevel(logging.DEBUG if level == "debug" else logging.WARNING)

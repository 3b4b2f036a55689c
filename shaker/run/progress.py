"""Progress and summary of a one-off run: a line on a terminal, else an event every few seconds. Reads `Status` only."""

from __future__ import annotations

import io
import os
import shutil
import sys
from typing import TYPE_CHECKING, Any, Final

import structlog

from shaker.bytesize import format_size
from shaker.errors import EXIT_DIFFERENT, EXIT_OK, EXIT_UNFAITHFUL, counted
from shaker.settings.schema import Settings
from shaker.watch import log as logs
from shaker.watch.status import State, Status

if TYPE_CHECKING:
    from rich.text import Text

log = structlog.get_logger("shaker")

EVENT_SECONDS: Final = 5.0
DRAW_SECONDS: Final = 0.25
BAR: Final = 24  # characters
# A source may write one PING by itself between the last command and the last INFO.
IDLE_BYTES: Final = 14
# Labels of states for an operator who waits for a copy.
CATCHING_UP: Final = (State.CATCHING_UP, State.STREAMING)
LABELS: Final = {**dict.fromkeys(CATCHING_UP, "catching up"), State.DRAINING: "finishing"}


class ProgressReport:
    """Reports one run; `refresh` is called several times a second, `end` once."""

    def __init__(self, settings: Settings, status: Status) -> None:
        self._status = status
        self._one_off = settings.mode != "follow"
        self._began = self._logged = self._drawn = status.clock()
        terminal = self._one_off and settings.log.format != "json" and sys.stdout.isatty()
        self._footer = logs.footer(settings.log.level) if terminal and os.environ.get("TERM") != "dumb" else None

    def refresh(self) -> None:
        """Draw or log the progress, if it is time to."""
        now = self._status.clock()
        if self._footer is not None:
            if now - self._drawn >= DRAW_SECONDS:
                self._drawn = now
                self._footer.draw(drawn(self._status))
        elif now - self._logged >= EVENT_SECONDS:
            self._logged = now
            if self._status.state is State.SNAPSHOT:
                log.info("snapshot progress", **snapshot_fields(self._status))
            elif self._one_off and self._status.state in CATCHING_UP:
                log.info("catching up", **stream_fields(self._status))

    def end(self, code: int) -> None:
        """Write the summary of a one-off run that ends with `code`."""
        if not self._one_off:
            return
        seconds = self._status.clock() - self._began
        if self._footer is not None:
            self._footer.end("".join(f"{line}\n" for line in summary_lines(self._status, code, seconds)))
        else:
            log.info("summary", **summary_fields(self._status, code, seconds))


def snapshot_fields(status: Status) -> dict[str, Any]:
    """Return the progress of the snapshot."""
    progress, share = status.snapshot, status.snapshot_share()
    keys, size = status.history.rates()
    eta = status.eta_seconds()
    return {
        "per_cent": None if share is None else round(100 * share, 1),
        "keys_done": progress.keys_done,
        "keys_total": status.snapshot_keys,
        "bytes_done": progress.bytes_done,
        "bytes_total": progress.bytes_total,
        "keys_per_second": round(keys),
        "bytes_per_second": round(size),
        "eta_seconds": None if eta is None else round(eta, 1),
        "lag_bytes": status.lag_bytes,
    }


def stream_fields(status: Status) -> dict[str, Any]:
    """Return the progress of the stream."""
    return {
        "applied_offset": status.stream.applied_offset,
        "source_offset": status.stream.source_offset,
        "lag_bytes": status.lag_bytes,
        "lag_seconds": round(status.lag_seconds, 3),
        "commands_per_second": round(status.commands_per_second),
        "expiries_waiting": status.expiries.waiting,
    }


def summary_fields(status: Status, code: int, seconds: float) -> dict[str, Any]:
    """Return the results of the run, and how much the source has written since."""
    source, target = status.keys.present.get("source"), status.keys.present.get("target")
    return {
        "complete": code == EXIT_OK,
        "seconds": round(seconds, 1),
        "keys_copied": status.snapshot.keys_done,
        "bytes_copied": status.snapshot.bytes_done,
        "commands_applied": status.stream.commands_applied,
        "commands_rejected": status.stream.commands_rejected,
        "equal_up_to_offset": status.stream.applied_offset,
        "source_wrote_bytes_since": status.lag_bytes,
        "source_keys": source,
        "target_keys": target,
        "next": next_step(status, code),
    }


def next_step(status: Status, code: int) -> str:
    """Return the next step for the operator."""
    if code == EXIT_UNFAITHFUL and status.stream.commands_rejected:
        return "the target lacks the writes of the rejected commands: docs/operations.md has the next steps"
    if code == EXIT_DIFFERENT:
        return "source and target differ: `shaker verify --repair` copies the keys, then run again"
    if code != EXIT_OK:
        failed = status.state in (State.FAILED, State.FENCED)
        return "the run is not complete: see the error" if failed else "the run is not complete: run it again"
    if status.lag_bytes > IDLE_BYTES:
        return "the source still writes: stop its writers and run again, or cut over"
    return "the source no longer writes: point its clients to the target"


def summary_lines(status: Status, code: int, seconds: float) -> list[str]:
    """Return the summary for people."""
    snapshot, applied = status.snapshot, status.stream.applied_offset
    lines = [
        f"Copied {counted(snapshot.keys_done, 'key')} ({format_size(snapshot.bytes_done)}) and applied "
        f"{counted(status.stream.commands_applied, 'command')} in {duration(seconds)}."
    ]
    if rejected := status.stream.commands_rejected:
        lines.append(f"The target rejected {counted(rejected, 'command')}: it differs from the source there.")
    if code == EXIT_OK:
        lines.append(f"The target equals the source up to offset {applied}.")
        if status.lag_bytes > IDLE_BYTES:
            lines.append(f"Since then the source has written {format_size(status.lag_bytes)}{_differing(status)}.")
    text = next_step(status, code)
    return [*lines, f"{text[:1].upper()}{text[1:]}."]


def _differing(status: Status) -> str:
    source, target = status.keys.present.get("source"), status.keys.present.get("target")
    if source is None or target is None or source == target:
        return ""
    return (
        f" and has {counted(abs(source - target), 'key')} {'more' if source > target else 'fewer'} than the target"
    )


def duration(seconds: float) -> str:
    """Return `8 s`, `2 min 5 s`, `1 h 2 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 and seconds != whole else f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def drawn(status: Status) -> str:
    """Return one line for the terminal, at most as wide as it is, with colours."""
    from rich.console import Console

    width = shutil.get_terminal_size().columns - 1
    console = Console(file=io.StringIO(), force_terminal=True, width=width, legacy_windows=False)
    text = _line(status, width)
    text.truncate(width, overflow="crop")
    with console.capture() as capture:
        console.print(text, end="", no_wrap=True)
    return capture.get()


def _line(status: Status, width: int) -> Text:
    from rich.text import Text

    label = LABELS.get(status.state, str(status.state))
    parts: list[Text] = [Text(label, "bold")]
    if status.state is State.SNAPSHOT:
        parts.extend(_snapshot_parts(status))
    elif (status.verification.requested or {}).get("running"):
        compared = status.verification.current.counted
        parts[0] = Text("verifying", "bold")
        of = f" of {compared.total:,}" if compared.total else ""
        parts.append(Text(f"{compared.keys:,}{of} keys compared"))
    elif status.state in CATCHING_UP:
        stream = status.stream
        parts.append(Text(f"lag {format_size(status.lag_bytes)}, {status.lag_seconds:.1f} s", "yellow"))
        parts.append(Text(f"{status.commands_per_second:,.0f} commands/s"))
        if stream.applied_offset:
            parts.append(Text(f"offset {stream.applied_offset} of {stream.source_offset}", "dim"))
        if status.expiries.waiting:
            parts.append(Text(f"{counted(status.expiries.waiting, 'key')} wait for their true expiry"))
    else:
        parts.extend(Text(reason, "yellow") for reason in status.not_ready(max_lag_seconds=None)[1:2])
    line = Text()
    for part in parts:
        # Parts that do not fit are left out whole; the first ones matter most.
        if line and len(line) + 2 + len(part) > width:
            break
        line.append("  " if line else "").append_text(part)
    return line


def _snapshot_parts(status: Status) -> list[Text]:
    from rich.text import Text

    snapshot, share, eta = status.snapshot, status.snapshot_share(), status.eta_seconds()
    keys, size = status.history.rates()
    parts = []
    if share is not None:
        full = round(BAR * share)
        bar = Text("━" * full, "green").append("─" * (BAR - full), "bright_black")
        parts += [bar, Text(f"{100 * share:3.0f} %", "bold")]
    if eta is not None:
        parts.append(Text(f"{duration(round(eta))} left", "cyan"))
    of = f" of {status.snapshot_keys:,}" if status.snapshot_keys else ""
    parts.append(Text(f"{snapshot.keys_done:,}{of} keys"))
    parts.append(Text(f"{keys:,.0f} keys/s, {size / 1e6:.1f} MB/s"))
    parts.append(Text(f"lag {format_size(status.lag_bytes)}", "dim"))
    return parts

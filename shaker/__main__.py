"""`shaker` and `python -m shaker`: runs the command, importing only the modules that it needs."""

from __future__ import annotations

# Importing `signal` takes ten milliseconds, during which Ctrl-C would leave a traceback.
import _signal as signal  # type: ignore[import-not-found]
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

# Signals that stop a worker; SIGHUP only if it is not ignored at the start, as under nohup.
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (without the program's name) and return the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    interrupt = signal.getsignal(signal.SIGINT)
    # During the imports no work has begun, so the exit code is that of incomplete work. `shaker run` keeps this
    # handler until the worker installs its own: without one, the kernel ignores SIGTERM for process 1, which the worker
    # is in a container.
    for number in ENDING if arguments[:1] == ["run"] else (signal.SIGINT,):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _end)
    _occupy_standard_descriptors()
    if arguments[:1] == ["healthcheck"]:
        # Before any other import: it must answer in a fraction of a second.
        from shaker.commands.healthcheck import main as healthcheck

        return healthcheck(arguments[1:])
    from shaker.cli import main as command_line

    if arguments[:1] != ["run"]:
        signal.signal(signal.SIGINT, interrupt)
    return command_line(arguments)


def _end(*_: object) -> None:
    os._exit(75)


def _occupy_standard_descriptors() -> None:
    """Open closed standard descriptors: otherwise the first connection or file would become standard output."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # Read-only: writes to it fail, and so count as dropped.
            os.open(os.devnull, os.O_RDONLY)
    # Python sets them to None if they are closed.
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - as long as the process


if __name__ == "__main__":
    sys.exit(main())

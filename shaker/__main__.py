"""`shaker` and `python -m shaker`: hands over to the command, importing as little as that command needs."""

from __future__ import annotations

# The module `signal` takes ten milliseconds to import, in which Ctrl-C would leave a traceback.
import _signal as signal  # type: ignore[import-not-found]
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

# What ends a worker; SIGHUP only where it is not ignored from the start, as nohup has it.
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (without the program's name) and return the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    interrupt = signal.getsignal(signal.SIGINT)
    # While modules are imported nothing has begun, and the code says that the work is not complete. `shaker run` keeps
    # this until the worker listens by itself: without a handler the kernel keeps SIGTERM from process 1, which the
    # worker is in a container.
    for number in ENDING if arguments[:1] == ["run"] else (signal.SIGINT,):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _end)
    _occupy_standard_descriptors()
    if arguments[:1] == ["healthcheck"]:
        # Before anything else is imported: it must answer in a fraction of a second.
        from shaker.commands.healthcheck import main as healthcheck

        return healthcheck(arguments[1:])
    from shaker.cli import main as command_line

    if arguments[:1] != ["run"]:
        signal.signal(signal.SIGINT, interrupt)
    return command_line(arguments)


def _end(*_: object) -> None:
    os._exit(75)


def _occupy_standard_descriptors() -> None:
    """Open what was closed: the first connection or file would else be standard output."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # For reading only: what is written to it fails, and so counts as dropped.
            os.open(os.devnull, os.O_RDONLY)
    # Python leaves them out where they are closed.
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - as long as the process


if __name__ == "__main__":
    sys.exit(main())

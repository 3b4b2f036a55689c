"""`shaker` and `python -m shaker`: hands over to the command, importing as little as that command needs."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (without the program's name) and return the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["healthcheck"]:
        # Before anything else is imported: it must answer in a fraction of a second.
        from shaker.healthcheck import main as healthcheck

        return healthcheck(arguments[1:])
    if arguments[:1] == ["run"]:
        # Until the worker listens for it itself: nothing is begun yet, and the code says that it was not complete.
        # Without a handler the kernel keeps SIGTERM from process 1, which the worker is in a container.
        signal.signal(signal.SIGTERM, lambda *_: os._exit(75))
    from shaker.cli import main as command_line

    return command_line(arguments)


if __name__ == "__main__":
    sys.exit(main())

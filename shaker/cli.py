"""The command line: the table of commands, and the exit code of each outcome."""

from __future__ import annotations

import gc
import os
import signal
import sys
from argparse import SUPPRESS
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from functools import partial
from typing import NamedTuple

from shaker import __version__
from shaker.build import codec_kind
from shaker.errors import EXIT_INCOMPLETE, EXIT_OK, SettingsError, ShakerError

# Python's own code for an uncaught exception: none of ours, because it is always a bug.
EXIT_BUG = 1
# Allocations after which the garbage collector of `shaker run` looks for cycles, 700 by default. Imported modules,
# or a chunk of a snapshot, are thousands of objects without cycles.
GARBAGE_THRESHOLD = 50_000


class Command(NamedTuple):
    """A command: its purpose, and the function that runs it."""

    purpose: str
    run: Callable[[Sequence[str]], int]


def main(arguments: Sequence[str]) -> int:
    """Run the command named by `arguments` and return its exit code (see `shaker.errors`)."""
    first = arguments[0] if arguments else "--help"
    if first in ("-h", "--help", "help"):
        sys.stdout.write(usage())
        return EXIT_OK
    if first in ("-V", "--version"):
        sys.stdout.write(f"shaker {__version__} (codec {codec_kind()})\n")
        return EXIT_OK
    try:
        if first not in COMMANDS:
            close = get_close_matches(first, COMMANDS, n=1)
            hint = f"did you mean `shaker {close[0]}`?" if close else "`shaker --help` lists the commands"
            raise SettingsError(f"{first}: is not a command", hint=hint)
        return COMMANDS[first].run(arguments[1:])
    except ShakerError as error:
        sys.stderr.write("".join(f"shaker: {each}\n" for each in str(error).splitlines()))
        return error.exit_code
    except SystemExit as end:
        # From the argument parser's --help, or from rich after its reader closed the pipe.
        return EXIT_OK if not end.code else EXIT_INCOMPLETE
    except BrokenPipeError:
        # The reader of our output closed the pipe. Python would report that once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_INCOMPLETE
    except KeyboardInterrupt:
        return EXIT_INCOMPLETE


def usage() -> str:
    """Return the help text of `shaker` and `shaker --help`."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {command.purpose}" for name, command in COMMANDS.items()]
    return (
        "usage: shaker COMMAND [options]\n\n"
        "Replicates a Redis or Valkey (the source) to another (the target), applying each command exactly once.\n\n"
        "commands:\n" + "\n".join(lines) + "\n\n"
        "options:\n"
        "  --version  show the version, and whether the codec is compiled\n"
        "  --help     show this help; `shaker COMMAND --help` shows that of a command\n\n"
        "example:\n"
        "  shaker run --source.url redis://127.0.0.1:6379 --target.url redis://127.0.0.1:6380\n"
    )


def _run(arguments: Sequence[str]) -> int:
    _lighten_imports()

    from shaker.commands.flags import EPILOG, Parser, add_checks, add_settings, load_given

    # Pauses the worker once it runs; the default would end the process.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    parser = Parser("run", "Replicates the source to the target.", epilog=EPILOG)
    add_checks(parser)
    add_settings(parser)
    parser.add_argument("--report", metavar="FILE", dest="report.file", default=SUPPRESS, help=SUPPRESS)
    loaded = load_given(parser.parse(arguments))

    import anyio
    import structlog

    from shaker.checks.named_files import check_files
    from shaker.checks.preflight.catalogue import selected_at_start
    from shaker.settings.secrets import hide
    from shaker.watch import log

    selected_at_start(loaded.settings)  # raises for a wrong name
    check_files(loaded.settings)
    log.write_aside()
    log.configure(loaded.settings.log.format, loaded.settings.log.level)
    for secret in loaded.secrets():
        hide(secret)

    from shaker.run.worker import run

    try:
        return anyio.run(run, loaded.settings, backend_options={"use_uvloop": True})
    except ShakerError as error:
        structlog.get_logger().error(
            "worker ended", kind=error.kind, error=error.what, hint=error.hint, exit_code=error.exit_code
        )
        return error.exit_code
    except Exception:
        structlog.get_logger().exception("worker ended by a bug", exit_code=EXIT_BUG)
        return EXIT_BUG
    finally:
        log.close()


def _lighten_imports() -> None:
    """Import structlog without rich, which it needs only to draw tracebacks, and collect garbage less often.

    Together this saves a fifth of the start time.
    """
    gc.set_threshold(GARBAGE_THRESHOLD)
    absent = "rich" not in sys.modules
    if absent:
        sys.modules["rich"] = None  # type: ignore[assignment]  # makes `import rich` fail
    import structlog  # noqa: F401

    if absent:
        del sys.modules["rich"]


def _preflight(arguments: Sequence[str]) -> int:
    from shaker.commands.preflight import main as preflight

    return preflight(arguments)


def _status(arguments: Sequence[str]) -> int:
    from shaker.commands.status import main as status

    return status(arguments)


def _verify(arguments: Sequence[str]) -> int:
    from shaker.commands.verify import main as verify

    return verify(arguments)


def _steer(verb: str, arguments: Sequence[str]) -> int:
    from shaker.commands.steer import main as steer

    return steer(verb, arguments)


def _cutover(arguments: Sequence[str]) -> int:
    from shaker.commands.cutover import main as cutover

    return cutover(arguments)


def _abort(arguments: Sequence[str]) -> int:
    from shaker.commands.abort import main as abort

    return abort(arguments)


def _healthcheck(arguments: Sequence[str]) -> int:
    from shaker.commands.healthcheck import main as healthcheck

    return healthcheck(arguments)


def _config(arguments: Sequence[str]) -> int:
    from shaker.commands.config import main as config

    return config(arguments)


def _demo(arguments: Sequence[str]) -> int:
    from shaker.commands.demo import main as demo

    return demo(list(arguments))


# Each command imports its modules when it runs: `shaker status` does not need those of the replication.
COMMANDS = {
    "run": Command("replicate the source to the target", _run),
    "preflight": Command("check source, target and settings before a replication; changes nothing", _preflight),
    "status": Command("show the status of a running worker: a line, --json, or --watch", _status),
    "verify": Command("compare every key of both servers, exactly and under load; --repair copies", _verify),
    "cutover": Command("fence the source, wait until the target equals it, and end the replication", _cutover),
    "pause": Command("take nothing more from the source, until `shaker resume`", partial(_steer, "pause")),
    "resume": Command("end a pause; let held deletions continue", partial(_steer, "resume")),
    "rate": Command("show or change the rates of a running worker: NAME=VALUE …", partial(_steer, "rate")),
    "abort": Command("end a cutover or a verification pass that was asked for, or undo a cutover", _abort),
    "ack": Command("clear recorded rejected commands from /readyz", partial(_steer, "ack")),
    "healthcheck": Command("exit 0 if the local worker is alive", _healthcheck),
    "config": Command("show the effective settings and the origin of each, or --check them", _config),
    "demo": Command("show a replication with two private servers and live load; needs no configuration", _demo),
}

"""`shaker abort`: ends what an operator began through the running worker; without one, undoes a cutover."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from shaker.commands.control import ask
from shaker.commands.flags import EPILOG, Parser, add_settings, load_given
from shaker.commands.status import local_url
from shaker.commands.steer import lines, token_file
from shaker.errors import EXIT_INCOMPLETE, EXIT_OK, LinkError
from shaker.model.cutover import CutoverNote
from shaker.settings.schema import Settings


def main(arguments: Sequence[str]) -> int:
    """Run the command; return 0 when the worker ends what an operator began, or the source takes writes again."""
    parser = Parser(
        "abort",
        "Ends a cutover or a verification pass that was asked for; without a worker, undoes a cutover.",
        epilog=EPILOG,
    )
    parser.add_argument("--url", metavar="URL", help="the worker's health server, such as http://worker-1:8080")
    add_settings(parser)
    given = parser.parse(arguments)
    url = given["url"] or local_url({name: value for name, value in given.items() if isinstance(value, str)})
    try:
        answer = ask(
            url, token_file({"token_file": given.get("control.token_file"), "config": given["config"]}), "abort", {}
        )
    except LinkError as error:
        sys.stderr.write(f"shaker: {error.what}\n")
    else:
        sys.stdout.write("".join(f"{line}\n" for line in lines("abort", answer)))
        return EXIT_OK
    settings = load_given(given).settings
    if left_behind(settings) is None:
        sys.stdout.write("No worker runs, and the checkpoint has no note of a cutover: nothing to undo.\n")
        return EXIT_OK
    if not reopen(settings):
        sys.stderr.write("shaker: the cutover is not undone\n")
        return EXIT_INCOMPLETE
    sys.stdout.write("The source takes writes again, and the next worker resumes from the checkpoint.\n")
    return EXIT_OK


def left_behind(settings: Settings) -> CutoverNote | None:
    """Return the note of a cutover in the checkpoint that counts, None where there is none; raises LinkError."""
    return where(settings)[1]


def where(settings: Settings) -> tuple[bool, CutoverNote | None]:
    """Return whether the replication was turned round, and the note in the checkpoint that counts.

    Raises LinkError, RefusedError.
    """
    import anyio

    from shaker.checks.cut_over import present_direction

    direction, checkpoint = anyio.run(lambda: present_direction(settings))
    return direction is not settings, None if checkpoint is None else CutoverNote.parse(checkpoint.cutover)


def reopen(settings: Settings) -> bool:
    """Take the replication over for as long as it takes to undo a cutover; return whether that succeeded."""
    import anyio

    from shaker.run.worker import run
    from shaker.watch import log

    log.configure("console", "warning")
    quiet = settings.model_copy(
        update={"mode": "follow", "verify": settings.verify.model_copy(update={"continuous": False})}
    )
    anyio.run(lambda: run(quiet, reopening=True))
    return left_behind(settings) is None

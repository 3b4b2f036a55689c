"""Error replies of a server while a connection is being made, as errors of the worker."""

from __future__ import annotations

from typing import Final

from shaker.errors import AccessError, LinkError, ServerBusyError

# Errors that go away by waiting: the source loads its dataset, or its own primary is not there.
WAITING: Final = ("LOADING", "MASTERDOWN", "NOMASTERLINK", "BUSY", "TRYAGAIN")

# Without these no user can replicate.
REPLICATING: Final = ("PSYNC", "REPLCONF", "INFO")


def _named(text: str) -> str:
    """Return the command that a server does not know: quoted by it, in one way or another."""
    return text.partition("unknown command ")[2].strip("'`").partition("'")[0].partition("`")[0].upper()[:32]


def refusal(side: str, text: str, doing: str) -> LinkError:
    """Return the error for a refusal by a server of `side`: `text` is its error line, `doing` the attempt."""
    # A server that knows no AUTH quotes its arguments: the password.
    text = text.partition(", with args beginning with")[0]
    code = text.split(" ", 1)[0]
    upper = side.upper()
    if "without any password" in text:
        return AccessError(
            f"the {side} has no password for this user, and the worker gives one: {text}",
            hint=f"remove the password: from {side}.url, {side}.password (SHAKER_{upper}__PASSWORD) and "
            f"{side}.password_file, wherever it is set",
        )
    if code in ("WRONGPASS", "NOAUTH") or "invalid password" in text:
        return AccessError(
            f"the {side} refuses the credentials while {doing}: {text}",
            hint=f"set {side}.username and {side}.password (SHAKER_{upper}__USERNAME, SHAKER_{upper}__PASSWORD)",
        )
    if code == "NOPERM":
        return AccessError(
            f"the {side} forbids what the worker needs while {doing}: {text}",
            hint=f"give the user of {side}.url the ACL rule for it (docs/access.md lists them)",
        )
    if code == "DENIED":
        return AccessError(
            f"the {side} takes connections from its own machine only (protected mode)",
            hint=f"give it a password (requirepass), and the worker by {side}.password (SHAKER_{upper}__PASSWORD)",
        )
    # At the request itself the unknown command is PSYNC, or source.psync_command in its place.
    if "unknown command" in text and (_named(text) in REPLICATING or doing == "requesting"):
        return AccessError(
            f"the {side} knows no {_named(text)}: {text}",
            hint="managed services often forbid replication to the outside, and rename-command can take it away: "
            f"{side}.url needs a server that replicates. source.psync_command takes the service's own name of PSYNC",
        )
    if code in WAITING:
        return ServerBusyError(f"the {side} is not ready while {doing}: {text}", kind=code.lower())
    return ServerBusyError(f"the {side} refuses while {doing}: {text}", kind="refused")

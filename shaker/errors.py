"""Every exception that shaker raises: what went wrong, where, what to do, and whether trying again helps.

The exit codes are the public contract of the commands; `EXIT_*` below are the only places that spell them.
"""

from __future__ import annotations

EXIT_OK = 0
EXIT_USAGE = 2
EXIT_REFUSED = 3
EXIT_UNFAITHFUL = 4
EXIT_DIFFERENT = 5
EXIT_FENCED = 6
EXIT_INCOMPLETE = 75


# Kinds of errors that each side can have, the values of `shaker_errors_total{side,kind}`: a series that begins with
# its first error would hide that one from rate() and increase(). Those of `worker` end it.
_LINK = (
    *(
        "access",
        "busy",
        "connect",
        "link",
        "loading",
        "lost",
        "masterdown",
        "max_deletions",
        "moved",
        "protocol",
        "refused",
        "sentinel",
    ),
    *("timeout", "tls", "tryagain"),
)
KINDS = {
    "source": (*_LINK, "behind", "history", "nomasterlink", "spool"),
    "target": (
        *(
            *_LINK,
            "aborted",
            "clusterdown",
            "contended",
            "misconf",
            "noreplicas",
            "oom",
            "readonly",
            "records_wiped",
        ),
        *("rejected", "rejected_command"),
    ),
    "worker": (
        *("access", "corrupt", "database", "expiry", "fenced", "function", "given_up", "max_deletions"),
        *("records", "refused"),
        *("refused_key", "refused_script", "rejected_command", "too_large", "unfaithful"),
    ),
}

# What to do about an error, by its kind, where whoever raises it knows nothing better.
HINTS = {
    "aborted": "look into the target's log",
    "behind": "wait for that replica to catch up, or name its primary",
    "busy": "a script blocks the server: wait for it, or end it by SCRIPT KILL",
    "clusterdown": "look at the target's cluster",
    "connect": "is the server up, and is its URL right?",
    "contended": "are several workers of this name started at once? give each replication its own name (SHAKER_NAME)",
    "corrupt": "start the worker again: if it fails at the same place, the data of the other side is damaged",
    "history": "nothing to do: the worker asks again, from where the target stands",
    "link": "look into the server's log",
    "loading": "wait until the server has loaded its dataset",
    "lost": "look into the server's log for the reason",
    "masterdown": "wait until that replica has its primary again, or name the primary",
    "misconf": "the target cannot save to its disk: look at its free space and its log",
    "moved": "nothing to do: the worker connects to the new primary",
    "nomasterlink": "wait until that replica has its primary again, or name the primary",
    "noreplicas": "bring back the target's replicas, or lower min-replicas-to-write there",
    "oom": "raise the target's maxmemory, or remove keys that it does not need",
    "protocol": "is something other than a Redis or Valkey at that address?",
    "readonly": "name the target's primary, or its Sentinels, which follow a failover",
    "records": "look into the target's log, and at the rights of the worker's user (docs/access.md)",
    "records_wiped": "was the target flushed, or restored from a backup? a full sync makes it whole again",
    "refused": "is a proxy in between that does not know the command? name the server itself",
    "rejected": "the worker sends the transaction again, without what the target rejects",
    "timeout": "does a slow command block the server, or does a firewall drop what is idle?",
    "tryagain": "wait until the server has moved the slot",
    "unfaithful": "is the source newer than this worker, or does it use a module? see docs/reliability.md",
}


def counted(number: int, noun: str) -> str:
    """Return `1 key`, `2 keys`, `1,000 keys`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def quoted(text: bytes | str, most: int = 128) -> str:
    """Return the beginning of what a user or a server wrote, in quotes and without control characters."""
    shown = text[:most].decode("utf-8", "backslashreplace") if isinstance(text, bytes) else text[:most]
    return "'" + "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in shown) + "'"


class ShakerError(Exception):
    """An error with a hint. `kind` is its stable name in logs and in `shaker_errors_total{kind}`.

    `exit_code` is what the process ends with when the error ends it, `retry` whether the worker may go on
    by trying again. The text never holds a value or a secret.
    """

    kind = "internal"
    exit_code = EXIT_INCOMPLETE
    retry = False

    def __init__(self, what: str, *, hint: str = "", kind: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        if kind is not None:
            self.kind = kind
        self.hint = hint or HINTS.get(self.kind, "")

    def __str__(self) -> str:
        return f"{self.what}; {self.hint}" if self.hint else self.what


class SettingsError(ShakerError):
    """Settings that cannot be used: one line for each fault, naming the setting."""

    kind = "settings"
    exit_code = EXIT_USAGE


class RefusedError(ShakerError):
    """Source or target are not fit for the work; nothing was written."""

    kind = "refused"
    exit_code = EXIT_REFUSED


class UnfaithfulError(ShakerError):
    """Data that cannot be replicated faithfully: an unknown type, a corrupt snapshot, a rejected command."""

    kind = "unfaithful"
    exit_code = EXIT_UNFAITHFUL


class CorruptError(UnfaithfulError):
    """Bytes of the source that break its protocol or its snapshot format, named with their offset."""

    kind = "corrupt"


class GivenUpError(ShakerError):
    """A one-off mode made no progress for as long as it may: trying again later helps."""

    kind = "given_up"
    exit_code = EXIT_INCOMPLETE


class FencedError(ShakerError):
    """A newer worker of the same name owns the target."""

    kind = "fenced"
    exit_code = EXIT_FENCED


class LinkError(ShakerError):
    """A connection could not be made, was lost, or missed a deadline: trying again helps."""

    kind = "link"
    retry = True


class RecordsWipedError(LinkError):
    """Somebody else removed or replaced the worker's records on the target, and perhaps the data with them."""

    kind = "records_wiped"


class PlannedReconnectError(LinkError):
    """The worker drops a connection itself: the next one begins with what this one has learned."""

    kind = "rejected"


class ServerBusyError(LinkError):
    """The server answered that it cannot do it now (LOADING, OOM, READONLY, …): waiting helps."""

    kind = "busy"


class AccessError(LinkError):
    """Wrong credentials or a forbidden command: trying again helps once an operator has mended it.

    Retried slowly in follow mode, ends the one-off modes.
    """

    kind = "access"
    exit_code = EXIT_REFUSED


class HeldError(AccessError):
    """More of the target's keys would be removed than the settings allow: nothing is, until an operator says so."""

    kind = "max_deletions"

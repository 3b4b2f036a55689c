"""Every exception that shaker raises: the fault, its place, the fix, and whether a retry helps.

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


# Kinds of errors of each side, the values of `shaker_errors_total{side,kind}`. All series exist from the start: rate()
# and increase() miss the first error of a new series. The kinds of `worker` end it.
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
        "unsupported",
    ),
}

# Default hints, by the kind of the error.
HINTS = {
    "aborted": "check the target's log",
    "behind": "wait for that replica to catch up, or name its primary",
    "busy": "a script blocks the server: wait for it, or end it with SCRIPT KILL",
    "clusterdown": "check the target's cluster",
    "connect": "check that the server is up and that its URL is right",
    "contended": "are several workers of this name starting at once? give each replication its own name (SHAKER_NAME)",
    "corrupt": "restart the worker: if it fails at the same offset, the data of the other side is damaged",
    "history": "no action needed: the worker asks again, from the target's offset",
    "link": "check the server's log",
    "loading": "wait until the server has loaded its dataset",
    "lost": "check the server's log for the reason",
    "masterdown": "wait until that replica has its primary again, or name the primary",
    "misconf": "the target cannot save to its disk: check its free space and its log",
    "moved": "no action needed: the worker connects to the new primary",
    "nomasterlink": "wait until that replica has its primary again, or name the primary",
    "noreplicas": "bring back the target's replicas, or lower min-replicas-to-write there",
    "oom": "raise the target's maxmemory, or remove keys that are not needed",
    "protocol": "is something other than a Redis or Valkey at that address?",
    "readonly": "set the URL to the target's primary, or to its Sentinels, which follow a failover",
    "records": "check the target's log and the ACL of the worker's user (docs/access.md)",
    "records_wiped": "was the target flushed, or restored from a backup? a full sync repairs it",
    "refused": "is there a proxy that does not support the command? connect to the server itself",
    "rejected": "the worker sends the transaction again without the rejected commands",
    "timeout": "does a slow command block the server, or does a firewall drop idle connections?",
    "tryagain": "wait until the server has moved the slot",
    "unfaithful": "is the source newer than this worker, or does it use a module? see docs/limits.md",
}


def counted(number: int, noun: str) -> str:
    """Return `1 key`, `2 keys`, `1,000 keys`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def quoted(text: bytes | str, most: int = 128) -> str:
    """Return the beginning of a user's or a server's text, in quotes and without control characters."""
    shown = text[:most].decode("utf-8", "backslashreplace") if isinstance(text, bytes) else text[:most]
    return "'" + "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in shown) + "'"


class ShakerError(Exception):
    """An error with a hint. `kind` is its stable name in logs and in `shaker_errors_total{kind}`.

    `exit_code` is the exit code if the error ends the process; `retry` is True if a retry may help. The text never
    holds a value or a secret.
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
    """Invalid settings: one line for each fault, naming the setting."""

    kind = "settings"
    exit_code = EXIT_USAGE


class RefusedError(ShakerError):
    """Source or target are unfit for the replication; nothing was written."""

    kind = "refused"
    exit_code = EXIT_REFUSED


class UnfaithfulError(ShakerError):
    """Data that cannot be replicated faithfully: an unknown type, a corrupt snapshot, a rejected command."""

    kind = "unfaithful"
    exit_code = EXIT_UNFAITHFUL


class CorruptError(UnfaithfulError):
    """Bytes of the source that violate its protocol or snapshot format, with their offset."""

    kind = "corrupt"


class UnsupportedError(UnfaithfulError):
    """A value, or a part of one, that the target's version cannot hold: `lacking` is what it lacks."""

    def __init__(self, lacking: str, *, hint: str = "") -> None:
        super().__init__(
            f"the target has no {lacking}",
            hint=hint or "use a target of the source's version, or leave the key out",
        )
        self.lacking = lacking


class GivenUpError(ShakerError):
    """A one-off mode made no progress for too long: a later run may succeed."""

    kind = "given_up"
    exit_code = EXIT_INCOMPLETE


class FencedError(ShakerError):
    """A newer worker of the same name owns the target."""

    kind = "fenced"
    exit_code = EXIT_FENCED


class LinkError(ShakerError):
    """A connection failed, was lost, or missed a deadline: a retry helps."""

    kind = "link"
    retry = True


class RecordsWipedError(LinkError):
    """The worker's records on the target were removed or replaced, and perhaps the data with them."""

    kind = "records_wiped"


class PlannedReconnectError(LinkError):
    """The worker drops a connection itself: the next one begins with what this one has learned."""

    kind = "rejected"


class ServerBusyError(LinkError):
    """The server cannot comply now (LOADING, OOM, READONLY, …): waiting helps."""

    kind = "busy"


class AccessError(LinkError):
    """Wrong credentials or a forbidden command: a retry helps once an operator has fixed them.

    Follow mode retries slowly; the one-off modes end.
    """

    kind = "access"
    exit_code = EXIT_REFUSED


class HeldError(AccessError):
    """A full resync would remove more keys than the settings allow: it waits for an operator."""

    kind = "max_deletions"

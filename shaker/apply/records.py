"""The worker's records in the target: in database 0 the fence and the checkpoint, in any database lists of keys.

`shaker:fence:<name>` names the one writer; only registrations write it. `shaker:checkpoint:<name>` is the position
that has taken effect; every transaction writes it whole, so that a FLUSHALL of the source never leaves a stump of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final, NamedTuple

from shaker.codec.resp.replies import encode
from shaker.errors import RefusedError, quoted
from shaker.model.position import Phase, Sweep

SCHEMA: Final = "1"


def fence_key(name: str) -> str:
    """Return the key of the fence of the replication `name`."""
    return f"shaker:fence:{name}"


def checkpoint_key(name: str) -> str:
    """Return the key of the checkpoint of the replication `name`."""
    return f"shaker:checkpoint:{name}"


def stale_key(name: str) -> str:
    """Return the key, in each database of the target, of the set of keys there that may be stale."""
    return f"shaker:stale:{name}"


def expiring_key(name: str) -> str:
    """Return the key, in each database, of the set of keys there that wait for their true expiry."""
    return f"shaker:expiring:{name}"


def copying_key(name: str) -> str:
    """Return the key, in each database, of the set of keys there that have to be copied from the source."""
    return f"shaker:copying:{name}"


def doubtful_key(name: str) -> str:
    """Return the key, in each database, of the set of keys there to copy if the target has expired any key lately."""
    return f"shaker:doubtful:{name}"


def unconfirmed_key(name: str) -> str:
    """Return the key, in each database, of the set of keys there to compare: no reply about them was read."""
    return f"shaker:unconfirmed:{name}"


def building_key(name: str) -> str:
    """Return the key, in each database, under which a value is built by commands before it gets its own name."""
    return f"shaker:building:{name}"


def rebuilding_key(name: str) -> str:
    """Return the key, in each database, under which a large value is copied again in pieces while the stream runs."""
    return f"shaker:rebuilding:{name}"


def writer_name(name: str, token: str) -> str:
    """Return the connection name of a writer, by which registrations find every one that is left."""
    return f"{writer_prefix(name)}{token}"


def writer_prefix(name: str) -> str:
    """Return what the connection names of all writers of the replication `name` begin with."""
    return f"shaker-writer:{name}:"


class Fence(NamedTuple):
    """The one worker and connection that may write. `connection` is its CLIENT ID on the server run `run_id`."""

    epoch: int
    token: str
    connection: int
    run_id: str

    @classmethod
    def parse(cls, record: dict[str, str]) -> Fence | None:
        """Return the fence of a HGETALL reply, None when there is none or it is a stump."""
        try:
            return cls(
                int(record["epoch"]), record["token"], int(record.get("connection", 0)), record.get("run_id", "")
            )
        except (KeyError, ValueError):
            return None

    def arguments(self, name: str) -> tuple[str | int, ...]:
        """Return the arguments of the HSET that writes the whole record."""
        return ("HSET", fence_key(name), *_fields_and_values(self))

    def command(self, name: str) -> bytes:
        """Return the HSET that writes the whole record."""
        return encode(*self.arguments(name))


class Checkpoint(NamedTuple):
    """The position that has taken effect on the target, and the worker that wrote it.

    `source` is the address of the source, `source_run_id` its run id, `origins` the run ids and replication ids of
    the servers before it in a chain, separated by spaces.
    `phase` is `snapshot` or `stream`. In the stream everything up to `offset` of `replid` has taken effect and
    `database` was selected there; replies were read up to `confirmed`. In a snapshot `snapshot` is its random id
    and `snapshot_batch` the number of its last batch; the offset is where the stream will begin.
    `sweep` is a `Sweep`, or the text of another version; `listed` is
    how many keys the target had then, 0 where that is not known. `rejected`
    counts commands that the target rejected, `rejected_last` names the last one. `expiring` is 1 while keys may
    wait for their true expiry. `expired` is what the target had expired when it was last known to agree with the
    source (`ExpiredKeys` as text), empty where nobody knows. `confirmed_at` is `confirmed` and the database selected
    there, in one text: a worker of an older version writes `confirmed` alone. `unconfirmed` is how many bytes of the
    stream have keys that wait to be compared. `verified` is the progress of the verification, in a text of its own,
    `cutover` the note of a cutover that is under way or done (`CutoverNote`), `turned` how often the replication was
    turned round before (`Turn`). `margin` is the most by which an expiry lies later than the source's, in milliseconds.
    `complete` is the offset at which a migration was complete, -1 for none; it holds while `offset` is the same.
    """

    phase: Phase = Phase.NONE
    replid: str = ""
    offset: int = 0
    database: int = 0
    confirmed: int = 0
    snapshot: str = ""
    snapshot_batch: int = 0
    rejected: int = 0
    rejected_last: str = ""
    sweep: str = ""
    listed: int = 0
    expiring: int = 0
    expired: str = ""
    margin: int = 0
    confirmed_at: str = ""
    unconfirmed: int = 0
    verified: str = ""
    complete: int = -1
    cutover: str = ""
    turned: str = ""
    source: str = ""
    source_run_id: str = ""
    origins: str = ""
    epoch: int = 0
    connection: int = 0
    schema: str = SCHEMA

    @classmethod
    def parse(cls, record: dict[str, str]) -> Checkpoint | None:
        """Return the checkpoint of a HGETALL reply, None when there is none.

        Raises RefusedError for a record that this version cannot read: to continue would be a guess.
        """
        if not record:
            return None
        values: dict[str, str | int] = {}
        try:
            for name, default in cls._field_defaults.items():
                text = record.get(name)
                if text is not None:
                    values[name] = text if isinstance(default, str) else int(text)
        except ValueError as error:
            raise RefusedError("the checkpoint in the target is damaged", hint=_DAMAGED) from error
        checkpoint = cls(**values)  # type: ignore[arg-type]  # each field got its own type above
        if checkpoint.schema != SCHEMA or checkpoint.phase not in (Phase.SNAPSHOT, Phase.STREAM):
            raise RefusedError(
                f"the checkpoint in the target has schema {quoted(checkpoint.schema)} and phase "
                f"{quoted(checkpoint.phase)}, which this version cannot read",
                hint=_DAMAGED,
            )
        return checkpoint._replace(phase=Phase(checkpoint.phase))

    @property
    def named_source(self) -> tuple[str, str, str]:
        """The source: address, run id, and the servers before it."""
        return self.source, self.source_run_id, self.origins

    def naming(self, named_source: tuple[str, str, str]) -> Checkpoint:
        """Return the checkpoint with another source."""
        if named_source == self.named_source:
            return self
        source, run_id, origins = named_source
        return self._replace(source=source, source_run_id=run_id, origins=origins)

    @property
    def resumable(self) -> bool:
        """Whether the stream can resume after it: not in a snapshot, nor in a sweep of another version."""
        return self.phase == Phase.STREAM and self.sweep in (Sweep.NONE, Sweep.LISTED)

    @property
    def is_complete(self) -> bool:
        """Whether a migration ended here, and no worker has applied anything since."""
        return self.phase == Phase.STREAM and self.complete == self.offset

    @property
    def sweeps_first(self) -> bool:
        """Whether the sweep has to continue before a key of the snapshot, or a command of the stream, is applied."""
        return self.sweep == Sweep.LISTING if self.phase == Phase.SNAPSHOT else bool(self.sweep)

    @property
    def confirmed_database(self) -> int | None:
        """The database selected at `confirmed`, None where the record does not say."""
        offset, _, database = self.confirmed_at.partition(" ")
        return int(database) if offset == str(self.confirmed) and database.isdigit() else None

    def confirming(self, offset: int, database: int | None) -> Checkpoint:
        """Return the checkpoint with replies read up to `offset`, where `database` is selected."""
        at = "" if database is None else f"{offset} {database}"
        return self._replace(confirmed=offset, confirmed_at=at)

    def pairs(self) -> list[str | int]:
        """Return the whole record as fields, each with its value behind it."""
        return _fields_and_values(self)

    def command(self, name: str) -> bytes:
        """Return the HSET that writes the whole record: every transaction has one."""
        pieces = [_beginning(name)]
        values: Iterable[str | int] = self
        for field, value in zip(_FIELDS, values, strict=True):
            pieces += (field, _text(value) if isinstance(value, str) else _bulk(b"%d" % value))
        return b"".join(pieces)


def _bulk(data: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(data), data)


@lru_cache(maxsize=256)
def _text(value: str) -> bytes:
    """Return a value as it is sent; most of them stay what they are."""
    return _bulk(value.encode())


@lru_cache(maxsize=16)
def _beginning(name: str) -> bytes:
    """Return all that comes before the first field of a checkpoint."""
    words = ("HSET", checkpoint_key(name))
    return b"*%d\r\n" % (len(words) + 2 * len(_FIELDS)) + b"".join(_bulk(word.encode()) for word in words)


_FIELDS: Final = tuple(_bulk(field.encode()) for field in Checkpoint._fields)
_DAMAGED = "look at it with HGETALL; deleting it makes the next start a new full synchronisation"


def _fields_and_values(record: Fence | Checkpoint) -> list[str | int]:
    values: Iterable[str | int] = record
    return [item for pair in zip(record._fields, values, strict=True) for item in pair]

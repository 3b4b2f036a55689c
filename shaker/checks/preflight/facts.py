"""Facts that the checks judge: INFO, configuration, rights and measurements of both servers, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from shaker.apply.records import Checkpoint
from shaker.errors import LinkError
from shaker.model.server_info import ServerInfo, SourceIdentity
from shaker.settings.schema import Settings


class Right(StrEnum):
    """Whether the worker's user may run a command."""

    ALLOWED = "allowed"
    FORBIDDEN = "forbidden"
    MISSING = "missing"  # the server has no such command
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class LinkSpeed:
    """Throughput of one link, measured by pipelined ECHO: the payload crosses the link in both directions."""

    bytes_per_second: float
    bytes_sent: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Sample:
    """Random keys of the source. Sums are bytes over all sampled keys; a value is its type byte and its contents."""

    keys: int
    key_bytes: int
    value_bytes: int
    largest_bytes: int
    types: Mapping[tuple[int, int], int]  # number of keys by RDB type and RDB version of the payload
    lacking: Mapping[str, int] | None = None  # number of keys by what the target lacks for them


@dataclass(frozen=True, slots=True)
class WriteRate:
    """Growth of the source's replication offset. `by_offset` is false where only its network input is known."""

    bytes_per_second: float
    seconds: float
    by_offset: bool


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """One server. A value is None, and a name is absent from a mapping, where the server does not reveal it."""

    address: str
    info: ServerInfo | None = None
    error: LinkError | None = None  # why there is no INFO
    config: Mapping[str, str] = field(default_factory=dict)  # by name, as CONFIG GET replies
    config_refused: str = ""  # the error of CONFIG GET
    rights: Mapping[str, Right] = field(default_factory=dict)  # by command
    rights_refused: str = ""  # why rights are unknown
    psync: Right = Right.UNKNOWN  # whether the replication command exists
    clock_offset: float | None = None  # seconds that its clock is ahead of the worker's
    round_trip: float | None = None  # seconds
    link: LinkSpeed | None = None
    sentinels: int | None = None  # connections of Sentinels
    writers: frozenset[str] | None = None  # names of the workers that write to it now
    checkpoints: tuple[str, ...] | None = None  # keys of the workers' checkpoints that it holds

    def number(self, name: str) -> int | None:
        """Return a configuration value that is a number."""
        text = self.config.get(name, "")
        return int(text) if text.isdigit() else None

    def unknown(self, name: str) -> str:
        """Return the sentence for a configuration value that the server does not reveal."""
        return f"{name} is not known: {self.config_refused or 'the server has no such parameter'}"


@dataclass(frozen=True, slots=True)
class Facts:
    """All facts of one preflight."""

    settings: Settings
    source: ServerFacts
    target: ServerFacts
    checkpoint: Checkpoint | None = None  # of this worker's name, in the target
    fence_keys: int = 0  # 1 where the target holds this worker's fence
    loop: str | None = None  # key of the record by which the source's data come from the target
    highest_database: bool | None = None  # whether the target has the highest database that the source uses
    sample: Sample | None = None
    libraries: int | None = None  # function libraries of the source, where the target has no functions
    write_rate: WriteRate | None = None
    overcommit: int | None = None  # vm.overcommit_memory, where the source runs on this machine

    def server(self, side: Literal["source", "target"]) -> ServerFacts:
        """Return the facts of one side."""
        return self.source if side == "source" else self.target

    def info(self, side: Literal["source", "target"]) -> ServerInfo:
        """Return the INFO of a side that answered; checks name the sides that they need."""
        info = self.server(side).info
        assert info is not None  # the catalogue skips a check without it
        return info

    @property
    def identity(self) -> SourceIdentity:
        """The source as a registration sees it."""
        info = self.info("source")
        return SourceIdentity(self.settings.source.address.text, info.run_id, info.replication.replids)

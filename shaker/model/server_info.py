"""The fields of INFO that shaker uses, typed. Servers are not trusted: a malformed field counts as absent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

MAX_INFO_VALUE: Final = 8192  # bytes; the longest value is a path
MAX_DIGITS: Final = 19  # offsets have 63 bits

# Counters that CONFIG RESETSTAT sets to 0 and nothing else decreases (server file src/server.c, resetServerStats).
STEADY_COUNTERS: Final = ("total_connections_received", "total_commands_processed", "total_net_input_bytes")
# Fields of section memory that are neither keys nor the server itself.
BUFFERS: Final = ("mem_clients_normal", "mem_clients_slaves", "mem_replication_backlog")


class SourceIdentity(NamedTuple):
    """The source by INFO on the replication connection; `replids` are its present id, then older ones."""

    address: str
    run_id: str
    replids: tuple[str, ...]
    info: ServerInfo | None = None  # all of it, as it was at the handshake


@dataclass(frozen=True, slots=True)
class ReplicaInfo:
    """One replica in the primary's INFO. A number is None where the server does not give it."""

    address: str  # host:port as it announces itself
    online: bool
    offset: int | None
    lag_seconds: int | None  # since its last acknowledgement


@dataclass(frozen=True, slots=True)
class ReplicationInfo:
    """Section replication: role, histories and offsets. A number is None where the server does not give it."""

    role: str = ""  # master or slave
    primary_link_up: bool = False  # of a replica
    replid: str = ""
    replid2: str = ""  # the history before a failover
    offset: int | None = None
    second_offset: int | None = None  # the first offset that `replid2` does not share
    backlog_active: int | None = None
    backlog_first: int | None = None  # offset of the first byte
    backlog_length: int | None = None  # in bytes
    backlog_size: int | None = None  # in bytes
    replicas: tuple[ReplicaInfo, ...] = ()
    good_replicas: int | None = None  # that count for min-replicas-to-write, where that is set
    primary: str = ""  # host:port, of a replica
    failover_state: str = ""

    @property
    def is_replica(self) -> bool:
        """Whether the server follows a primary of its own."""
        return self.role == "slave"

    @property
    def replids(self) -> tuple[str, ...]:
        """The present replication id, then the earlier one, without the ids of zeros, which mean none."""
        return tuple(replid for replid in (self.replid, self.replid2) if replid.strip("0"))


@dataclass(frozen=True, slots=True)
class MemoryInfo:
    """Section memory, in bytes, and the number of evicted keys."""

    used: int | None = None
    startup: int | None = None  # of an empty server
    buffers: int = 0  # of clients, replicas and the backlog
    resident: int | None = None  # used_memory_rss
    system: int | None = None  # of the whole machine
    limit: int | None = None  # maxmemory; 0 is no limit
    policy: str = ""  # maxmemory-policy
    evicted_keys: int | None = None

    @property
    def data(self) -> int | None:
        """Bytes that the keys take, without the empty server and its buffers."""
        return None if self.used is None else max(0, self.used - (self.startup or 0) - self.buffers)


@dataclass(frozen=True, slots=True)
class PersistenceInfo:
    """Section persistence: the outcome of the last RDB save and of the last AOF write."""

    loading: bool = False
    rdb_changes: int | None = None  # since the last save
    rdb_save_ok: bool | None = None
    aof_enabled: bool = False
    aof_write_ok: bool | None = None
    fork_microseconds: int | None = None  # of the last fork


@dataclass(frozen=True, slots=True)
class ExpiryCounters:
    """Keys and hash fields that the server has expired, and counters that show a CONFIG RESETSTAT."""

    keys: int
    fields: int
    steady: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """One server, by its INFO. Strings are empty and numbers None where the reply has no such field."""

    product: str = "Redis"  # or Valkey
    version: str = ""  # the product's own
    release: tuple[int, int] = (0, 0)  # the major and minor version of Redis that it is compatible with
    run_id: str = ""
    cluster_enabled: bool = False
    replication: ReplicationInfo = field(default_factory=ReplicationInfo)
    memory: MemoryInfo = field(default_factory=MemoryInfo)
    persistence: PersistenceInfo = field(default_factory=PersistenceInfo)
    expired: ExpiryCounters | None = None
    keyspace: Mapping[int, int] = field(default_factory=dict)  # number of keys in each database that holds any
    expiring: int = 0  # number of keys with an expiry, in all databases; all keys where the server does not say it
    input_bytes: int | None = None  # received from the network since the start
    modules: tuple[str, ...] = ()  # names of the loaded modules

    @property
    def name(self) -> str:
        """Product and version, such as `Valkey 8.1.0`."""
        return f"{self.product} {self.version or '?'}"

    @property
    def is_valkey(self) -> bool:
        """Whether the server is a Valkey."""
        return self.product == "Valkey"

    @property
    def valkey_release(self) -> tuple[int, int]:
        """Major and minor version of a Valkey; (0, 0) for any other server."""
        return _release(self.version) if self.is_valkey else (0, 0)

    @property
    def keys(self) -> int:
        """The number of keys in all databases."""
        return sum(self.keyspace.values())


def parse_info(reply: bytes) -> ServerInfo:
    """Return what an INFO reply says; sections that are not in it stay empty."""
    fields = _fields(reply)
    keyspace = _keyspace(fields)
    product, version = ("Valkey", fields["valkey_version"]) if fields.get("valkey_version") else ("Redis", "")
    return ServerInfo(
        product=product,
        version=version or fields.get("redis_version", ""),
        release=_release(fields.get("redis_version", "")),
        run_id=fields.get("run_id", ""),
        cluster_enabled=fields.get("cluster_enabled") == "1",
        replication=ReplicationInfo(
            role=fields.get("role", ""),
            primary_link_up=fields.get("master_link_status") == "up",
            replid=fields.get("master_replid", ""),
            replid2=fields.get("master_replid2", ""),
            offset=_number(fields, "master_repl_offset"),
            second_offset=_number(fields, "second_repl_offset"),
            backlog_active=_number(fields, "repl_backlog_active"),
            backlog_first=_number(fields, "repl_backlog_first_byte_offset"),
            backlog_length=_number(fields, "repl_backlog_histlen"),
            backlog_size=_number(fields, "repl_backlog_size"),
            replicas=_replicas(fields),
            good_replicas=_number(fields, "min_slaves_good_slaves"),
            primary=f"{fields['master_host']}:{fields.get('master_port', '')}" if "master_host" in fields else "",
            failover_state=fields.get("master_failover_state", ""),
        ),
        memory=MemoryInfo(
            used=_number(fields, "used_memory"),
            startup=_number(fields, "used_memory_startup"),
            buffers=sum(_number(fields, name) or 0 for name in BUFFERS),
            resident=_number(fields, "used_memory_rss"),
            system=_number(fields, "total_system_memory"),
            limit=_number(fields, "maxmemory"),
            policy=fields.get("maxmemory_policy", ""),
            evicted_keys=_number(fields, "evicted_keys"),
        ),
        persistence=PersistenceInfo(
            loading=fields.get("loading", "0") != "0",
            rdb_changes=_number(fields, "rdb_changes_since_last_save"),
            rdb_save_ok=_ok(fields, "rdb_last_bgsave_status"),
            aof_enabled=fields.get("aof_enabled") == "1",
            aof_write_ok=_ok(fields, "aof_last_write_status"),
            fork_microseconds=_number(fields, "latest_fork_usec"),
        ),
        expired=_expired(fields),
        keyspace=keyspace,
        expiring=_expiring(fields, keyspace),
        input_bytes=_number(fields, "total_net_input_bytes"),
        modules=_modules(reply),
    )


def _fields(reply: bytes) -> dict[str, str]:
    fields = {}
    # Servers write ASCII; the digits of other scripts would pass for numbers.
    for line in reply.decode("ascii", "replace").splitlines():
        name, colon, value = line.partition(":")
        if colon and not line.startswith("#") and len(value) <= (MAX_DIGITS if value.isdigit() else MAX_INFO_VALUE):
            fields[name] = value
    return fields


def _digits(text: str) -> int | None:
    return int(text) if text.isdigit() and len(text) <= MAX_DIGITS else None


def _number(fields: Mapping[str, str], name: str) -> int | None:
    return _digits(fields.get(name, ""))


def _ok(fields: Mapping[str, str], name: str) -> bool | None:
    return fields[name] == "ok" if name in fields else None


def _release(version: str) -> tuple[int, int]:
    major, _, rest = version.partition(".")
    first, second = _digits(major), _digits(rest.partition(".")[0])
    return (0, 0) if first is None or second is None else (first, second)


def _expired(fields: Mapping[str, str]) -> ExpiryCounters | None:
    keys, steady = _number(fields, "expired_keys"), [_number(fields, name) for name in STEADY_COUNTERS]
    # Redis 7.4 counts fields as expired_subkeys, Valkey 9 as expired_fields; older servers expire none.
    of_hashes = _digits(fields.get("expired_subkeys", fields.get("expired_fields", "0")))
    known = [number for number in steady if number is not None]
    if keys is None or of_hashes is None or len(known) < len(steady):
        return None
    return ExpiryCounters(keys, of_hashes, tuple(known))


def _keyspace(fields: Mapping[str, str]) -> dict[int, int]:
    keys = {}
    for name, value in fields.items():  # db0:keys=1,expires=0,…
        if name.startswith("db"):
            number, count = _digits(name[2:]), _digits(value.partition(",")[0].removeprefix("keys="))
            if number is not None and count is not None:
                keys[number] = count
    return keys


def _expiring(fields: Mapping[str, str], keyspace: Mapping[int, int]) -> int:
    found = {number: _digits(_pairs(fields[f"db{number}"]).get("expires", "")) for number in keyspace}
    return sum(keyspace[number] if count is None else count for number, count in found.items())


def _replicas(fields: Mapping[str, str]) -> tuple[ReplicaInfo, ...]:
    """Return the replicas, each in a field such as slave0:ip=127.0.0.1,port=6380,state=online,offset=1,lag=0."""
    found = []
    for name, value in fields.items():
        if name.startswith("slave") and name[5:].isdigit():
            pairs = _pairs(value)
            found.append(
                ReplicaInfo(
                    f"{pairs.get('ip', '')}:{pairs.get('port', '')}",
                    pairs.get("state") == "online",
                    _digits(pairs.get("offset", "")),
                    _digits(pairs.get("lag", "")),
                )
            )
    return tuple(found)


def _modules(reply: bytes) -> tuple[str, ...]:
    """Return the names of the modules, each in a line such as module:name=ReJSON,ver=20406."""
    lines = (line for line in reply.splitlines() if line.startswith(b"module:") and len(line) <= MAX_INFO_VALUE)
    names = (_pairs(line[7:].decode("ascii", "replace")).get("name", "") for line in lines)
    return tuple(sorted({name for name in names if name}))


def _pairs(value: str) -> dict[str, str]:
    return dict(pair.partition("=")[::2] for pair in value.split(","))

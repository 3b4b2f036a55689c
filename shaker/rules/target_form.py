"""The forms of values that a target takes: in one RESTORE, as commands, or not at all."""

from __future__ import annotations

from typing import Final, NamedTuple

from shaker.codec.rdb.field_expiries import VALKEY_VERSION
from shaker.codec.rdb.strings import module_name, read_length
from shaker.codec.rdb.value_limits import EVERY_VERSION, restored_up_to
from shaker.codec.rdb.value_types import FIELDS_EXPIRE, MODULE_VALUE, NEWER_TYPES, PATH_HASH, PLAIN_STRING, STREAMS
from shaker.codec.values.commands import survey
from shaker.codec.values.target import Target, target_of
from shaker.errors import UnsupportedError
from shaker.model.entries import LargeEntry
from shaker.model.server_info import ServerInfo
from shaker.rules.command_table import CommandTable

# The RDB version of the newest type that each release of Redis takes; Valkey below 9.0 counts as Redis 7.2.
RDB_VERSIONS: Final = (
    ((8, 8), VALKEY_VERSION - 1),
    ((8, 6), 13),
    ((7, 4), 12),
    ((7, 2), 11),
    ((7, 0), 10),
    ((5, 0), 9),
)
# Types of modules whose presence shows in a command, by the name that their values carry.
MODULE_COMMANDS: Final[dict[str, str]] = {
    "vectorset": "vadd",
    "ReJSON-RL": "json.set",
    "MBbloom--": "bf.add",
    "MBbloomCF": "cf.add",
    "CMSk-TYPE": "cms.incrby",
    "TopK-TYPE": "topk.add",
    "TDIS-TYPE": "tdigest.add",
    "TSDB-TYPE": "ts.add",
}
FIELDS: Final = "hash fields that expire (HPEXPIREAT)"
PATHS: Final = "path hashes (PHSET)"
TITLES: Final[dict[str, str]] = {"vectorset": "vector sets (VADD)"}


class TargetForm(NamedTuple):
    """The values that a target takes. `taken` has 1 for each RDB version whose payloads it takes.

    A collection above `restore_limit` bytes is built by commands, one other than a list earlier (`restored_up_to`),
    and any value in a payload that is not taken, all under the key `building`. `modules` are the types of modules, of
    those known, that it lacks.
    """

    able: Target
    taken: bytes
    restore_limit: int
    building: bytes
    modules: frozenset[str] = frozenset()

    def takes(self, payload: bytes) -> bool:
        """Return whether a payload goes by RESTORE."""
        return self.taken[payload[-10]] == 1 and len(payload) <= restored_up_to(payload[0], self.restore_limit)

    def builds(self, entry: LargeEntry) -> bool:
        """Return whether a value that comes in chunks is built by commands."""
        if entry.size < 0 or not self.taken[entry.version]:
            return True
        whole = entry.number == PLAIN_STRING or entry.number in STREAMS
        return whole and entry.size > restored_up_to(entry.number, self.restore_limit)

    def lacking(self, payload: bytes) -> str:
        """Return what the target lacks for a payload, empty for nothing that is known."""
        number = payload[0]
        if number == MODULE_VALUE:
            name = module_name(read_length(payload, 1, len(payload))[0]).decode("latin-1")
            return TITLES.get(name, f"module type {name}") if name in self.modules else ""
        if number < NEWER_TYPES or self.taken[payload[-10]]:
            return ""
        try:
            survey([payload], self.able._replace(drops_field_expiry=False), version=payload[-10])
        except UnsupportedError as error:
            return error.lacking
        return ""

    @property
    def skips(self) -> bool:
        """Whether data that the target cannot hold are left out."""
        return self.able.drops_field_expiry

    def holds_without(self, payload: bytes) -> bool:
        """Return whether the target holds the value apart from what it lacks."""
        return payload[0] in FIELDS_EXPIRE

    def lacking_large(self, entry: LargeEntry) -> str:
        """Return the same for a value whose payload is still to come."""
        if entry.number == PATH_HASH:
            return "" if self.able.path_hashes else PATHS
        return FIELDS if entry.number in FIELDS_EXPIRE and not self.able.field_expiry else ""


EVERYTHING: Final = TargetForm(target_of((8, 0)), EVERY_VERSION, 1 << 62, b"shaker:building:default")


def form_of(info: ServerInfo, table: CommandTable, *, restore_limit: int, building: str, skip: bool) -> TargetForm:
    """Return the form for a server by its INFO and its COMMAND; `skip`: expiries that it cannot hold are left out."""
    release = info.release
    highest = next((version for since, version in RDB_VERSIONS if release >= since), RDB_VERSIONS[-1][1])
    taken = bytearray([1] * (highest + 1) + [0] * (255 - highest))
    taken[VALKEY_VERSION] = info.valkey_release >= (9, 0)
    taken[VALKEY_VERSION + 1] = info.valkey_release >= (9, 2)
    able = Target(
        field_expiry="hpexpireat" in table,
        stream_counters=release >= (7, 0),
        create_consumer=release >= (6, 2),
        functions="function" in table,
        path_hashes="phset" in table,
        drops_field_expiry=skip,
    )
    modules = frozenset(name for name, command in MODULE_COMMANDS.items() if command not in table)
    return TargetForm(able, bytes(taken), restore_limit, building.encode(), modules)

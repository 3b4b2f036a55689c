"""What servers tell about themselves."""

from __future__ import annotations

from typing import Final, NamedTuple

MAX_INFO_VALUE: Final = 8192  # the longest is a path
MAX_DIGITS: Final = 19  # offsets have 63 bits


def server_name(info: dict[str, str]) -> str:
    """Return name and version of a server from its INFO."""
    if version := info.get("valkey_version"):
        return f"Valkey {version}"
    return f"Redis {info.get('redis_version', '?')}"


def release(info: dict[str, str]) -> tuple[int, int]:
    """Return the major and minor version of Redis that a server is compatible with; (0, 0) if it does not say."""
    major, _, rest = info.get("redis_version", "").partition(".")
    minor = rest.partition(".")[0]
    return (int(major), int(minor)) if major.isdigit() and minor.isdigit() else (0, 0)


class SourceIdentity(NamedTuple):
    """Who the source is, by INFO on the replication connection; `replids` are its present id, then older ones."""

    address: str
    run_id: str
    replids: tuple[str, ...]


def parse_info(info: bytes) -> dict[str, str]:
    """Return the fields of an INFO reply, without what no server says: numbers that are none, values beyond use."""
    fields = {}
    # Servers write ASCII; the digits of other scripts would pass for numbers.
    for line in info.decode("ascii", "replace").splitlines():
        name, colon, value = line.partition(":")
        if colon and not line.startswith("#") and len(value) <= (MAX_DIGITS if value.isdigit() else MAX_INFO_VALUE):
            fields[name] = value
    return fields


def keyspace(info: dict[str, str]) -> dict[int, int]:
    """Return the number of keys in each database that holds any, from INFO (`db0:keys=1,expires=0,…`)."""
    keys = {}
    for name, value in info.items():
        count = value.partition(",")[0].removeprefix("keys=")
        if name.startswith("db") and name[2:].isdigit() and count.isdigit():
            keys[int(name[2:])] = int(count)
    return keys

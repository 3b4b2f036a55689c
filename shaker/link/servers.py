"""What servers tell about themselves."""

from __future__ import annotations


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

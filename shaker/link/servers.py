"""What servers tell about themselves."""

from __future__ import annotations


def server_name(info: dict[str, str]) -> str:
    """Return name and version of a server from its INFO."""
    if version := info.get("valkey_version"):
        return f"Valkey {version}"
    return f"Redis {info.get('redis_version', '?')}"

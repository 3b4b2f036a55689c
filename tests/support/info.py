"""INFO as a server would answer it, from the fields that matter to a test."""

from __future__ import annotations

from shaker.model.server_info import ServerInfo, parse_info


def server_info(**fields: object) -> ServerInfo:
    """Return what a server says whose INFO has these fields."""
    return parse_info("".join(f"{name}:{value}\r\n" for name, value in fields.items()).encode())

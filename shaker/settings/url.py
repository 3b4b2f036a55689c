"""Parses the URL of a Redis into address and credentials, without resolving or connecting."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import unquote

DEFAULT_PORT = 6379
DEFAULT_SENTINEL_PORT = 26379
SENTINEL_SCHEMES = ("redis+sentinel", "rediss+sentinel")
SCHEMES = ("redis", "rediss", "unix", *SENTINEL_SCHEMES, "redis+cluster")

# Names of this machine that need no resolver.
_LOOPBACK = {"localhost": "127.0.0.1"}
_NODE = re.compile(
    r"(?:\[(?P<bracketed>[0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|(?P<name>[^\s\[\]:@/?#%,]+))(?::(?P<port>[0-9]{1,5}))?"
)


@dataclass(frozen=True, slots=True)
class Address:
    """The address of a Redis, with the URL's `username` and `password`, percent-decoded; `text` has neither.

    `host` and `port` are those of the first node; a `unix` address has a `path` instead. A `redis+sentinel` (with TLS
    `rediss+sentinel`) or `redis+cluster` address lists all its `nodes`, and with Sentinel the monitored `service`.
    """

    scheme: str
    host: str = ""
    port: int = 0
    path: str = ""
    nodes: tuple[tuple[str, int], ...] = ()
    service: str = ""
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    @property
    def tls(self) -> bool:
        """True when the connection is encrypted."""
        return self.scheme.startswith("rediss")

    @property
    def text(self) -> str:
        """The address for logs, status and people: `127.0.0.1:6379`, `[::1]:6379`, `/run/redis.sock`; no secret."""
        if self.scheme == "unix":
            return self.path
        nodes = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.nodes)
        return f"{nodes}/{self.service}" if self.service else nodes

    @property
    def masked_url(self) -> str:
        """The URL with its password replaced by `***`."""
        user = f"{self.username or ''}:***@" if self.password else f"{self.username}@" if self.username else ""
        return f"{self.scheme}://{user}{self.text}"

    def is_same_server(self, other: Address) -> bool:
        """Return True if both name the same server, as far as the text shows without a resolver."""
        if self.path or other.path:
            return self.path == other.path
        if self.service != other.service:
            return False
        return not _canonical(self.nodes).isdisjoint(_canonical(other.nodes))


def parse_address(url: str) -> Address:
    """Return the `Address` of `url`.

    Raises ValueError with the fault and the fix. Its text repeats nothing of the URL: any part of a malformed URL
    may be a piece of the password.
    """
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in SCHEMES:
        raise ValueError(f"must begin with one of {', '.join(name + '://' for name in SCHEMES)}")
    if "#" in rest:
        raise ValueError(
            "holds a '#': write it as %23 if it belongs to the password, or set the password separately"
        )
    if any(character.isspace() or not character.isprintable() for character in rest):
        raise ValueError("holds a space or a control character: remove it or percent-encode it")
    # Not by urllib: newer versions of Python refuse a bracket anywhere but around the only host.
    hierarchy, _, query = rest.partition("?")
    authority, slash, path = hierarchy.partition("/")
    path = slash + path
    user, _, location = authority.rpartition("@")
    username, _, password = user.partition(":")
    _check_query(query)
    if scheme == "unix":
        if location or len(path) < 2:
            raise ValueError("must name the path of a socket, such as unix:///run/redis/redis.sock")
        return Address(scheme, path=unquote(path), username=_decode(username), password=_decode(password))
    sentinel = scheme in SENTINEL_SCHEMES
    if not sentinel and scheme != "redis+cluster" and "," in location:
        raise ValueError("names several hosts: only redis+sentinel:// and redis+cluster:// allow more than one")
    nodes = tuple(_node(text, DEFAULT_SENTINEL_PORT if sentinel else DEFAULT_PORT) for text in location.split(","))
    service, database = "", path.removeprefix("/")
    if sentinel:
        service, _, database = database.partition("/")
        if not service:
            raise ValueError("must name the service, such as redis+sentinel://sentinel-1,sentinel-2/mymaster")
    _check_database(database)
    return Address(
        scheme,
        *nodes[0],
        nodes=nodes,
        service=unquote(service),
        username=_decode(username),
        password=_decode(password),
    )


def _decode(text: str) -> str | None:
    return unquote(text, errors="surrogateescape") or None


def _node(text: str, default_port: int) -> tuple[str, int]:
    match = _NODE.fullmatch(text)
    if match is None:
        raise ValueError(
            "must name host:port after the '@' or the '//'; put an IPv6 address in brackets, "
            "and percent-encode special characters of a password or set it separately"
        )
    port = int(match["port"]) if match["port"] else default_port
    if not 1 <= port <= 65535:
        raise ValueError("names a port outside 1 to 65535")
    return (match["bracketed"] or match["name"]).lower(), port


def _check_query(query: str) -> None:
    if not query:
        return
    name, _, value = query.partition("=")
    if name != "db" or "&" in value:
        raise ValueError("holds a '?': options in the URL are not supported, use separate settings")
    _check_database(value)


def _check_database(text: str) -> None:
    # Only 0 is accepted: any other database would be silently ignored.
    if text not in ("", "0"):
        raise ValueError("names a database: all databases are replicated, each to the same number; remove it")


def _canonical(nodes: tuple[tuple[str, int], ...]) -> set[tuple[str, int]]:
    return {(_LOOPBACK.get(host, host), port) for host, port in nodes}

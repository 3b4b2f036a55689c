"""Hypothesis strategies for RESP: requests as a source sends them, replies as a target answers."""

from __future__ import annotations

from hypothesis import strategies as st

from shaker.codec.resp.replies import encode

# Bytes that confuse a parser which looks for line ends, kinds or lengths where it should count.
awkward = st.sampled_from(
    (b"", b"\r\n", b"\r", b"\n", b"*1\r\n", b"$-1\r\n", b"-ERR\r\n", b"+OK\r\n", b"shaker:", b"MULTI", b"\x00")
)
arguments = st.one_of(st.binary(max_size=40), awkward, st.binary(min_size=90, max_size=1200))
names = st.sampled_from((b"SET", b"set", b"Incr", b"DEL", b"x", b"PSETEX", b"RESTORE-ASKING", b"SELECTED"))
commands = st.lists(arguments, max_size=6).flatmap(lambda rest: names.map(lambda name: [name, *rest]))


def bulk(data: bytes) -> bytes:
    """A bulk string."""
    return b"$%d\r\n%b\r\n" % (len(data), data)


lines = st.binary(max_size=60).map(lambda text: text.replace(b"\r", b"").replace(b"\n", b""))
errors = lines.map(lambda text: b"-ERR " + text + b"\r\n")
scalars = st.one_of(
    lines.map(lambda text: b"+" + text + b"\r\n"),
    st.just(b"+OK\r\n"),
    st.just(b"+QUEUED\r\n"),
    errors,
    st.integers(-(2**63), 2**63 - 1).map(lambda number: b":%d\r\n" % number),
    arguments.map(bulk),
    st.just(b"$-1\r\n"),
    st.just(b"*-1\r\n"),
    st.just(b"*0\r\n"),
)
# Every reply of RESP2, nested as deeply as hypothesis likes; some end in a nested error.
replies = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=5).map(lambda items: b"*%d\r\n" % len(items) + b"".join(items)),
    max_leaves=12,
)


def joined(requests: list[list[bytes]]) -> bytes:
    """The requests one behind the other."""
    return b"".join(encode(*request) for request in requests)

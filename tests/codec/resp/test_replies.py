"""Replies are counted right whatever they are and however they are cut, as hiredis and real servers say."""

from __future__ import annotations

import socket
import tracemalloc
from collections.abc import Callable

import hiredis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shaker.codec.resp.replies import MAX_ERROR_TEXT, MAX_ERRORS, MAX_LINE, ReplyScanner, encode, encode_each
from shaker.errors import CorruptError, ShakerError
from tests.support.resp_strategies import replies
from tests.support.servers import NAMES, Server
from tests.support.splits import cut, every_cut

PLENTY = 1 << 30

# Whole runs of replies: the bytes, how many replies, the errors with their positions.
RUNS = [
    (b"+OK\r\n", 1, []),
    (b"+\r\n", 1, []),
    (b":-9223372036854775808\r\n", 1, []),
    (b"$0\r\n\r\n", 1, []),
    (b"$-1\r\n*-1\r\n*0\r\n", 3, []),
    (b"$12\r\n\r\n-ERR\r\n+OK\r\r\n", 1, []),
    (b"*2\r\n$1\r\na\r\n*3\r\n:1\r\n*-1\r\n$-1\r\n", 1, []),
    (b"*3\r\n+OK\r\n*1\r\n*0\r\n:7\r\n+OK\r\n", 2, []),
    (b"+OK\r\n-ERR a\r\n:1\r\n-WRONGTYPE b c\r\n", 4, [(1, "ERR a"), (3, "WRONGTYPE b c")]),
    (b"*2\r\n-ERR inside\r\n:1\r\n-ERR behind\r\n", 2, [(1, "ERR behind")]),
    (b"*2\r\n:1\r\n-ERR last inside\r\n+OK\r\n", 2, []),
    (b"*1\r\n*1\r\n-ERR deep\r\n", 1, []),
    (b"-\r\n-\xff\r\n", 2, [(0, ""), (1, "�")]),
]


def scan(pieces: list[bytes], count: int = PLENTY) -> tuple[int, list[tuple[int, str]], ReplyScanner]:
    """Skip what is whole after each piece; return how many replies, the errors, and the scanner."""
    scanner = ReplyScanner()
    done = 0
    for piece in pieces:
        scanner.feed(piece)
        done += scanner.skip(count - done)
    return done, scanner.errors, scanner


@pytest.mark.parametrize(("data", "count", "errors"), RUNS)
def test_every_cut_counts_the_same(data: bytes, count: int, errors: list[tuple[int, str]]) -> None:
    """Number of replies and errors do not depend on where the bytes are cut, nothing is left over."""
    for pieces in every_cut(data):
        found, texts, scanner = scan(pieces)
        assert (found, texts, scanner.error_count) == (count, errors, len(errors))
        assert scanner.pending == 0


@pytest.mark.parametrize(("data", "count", "errors"), RUNS)
@pytest.mark.parametrize("trailing", [b"$5\r\nab", b"+O", b"*2\r\n:1\r\n", b"-ERR incomplete\r"])
def test_trailing_bytes_are_not_counted(
    data: bytes, count: int, errors: list[tuple[int, str]], trailing: bytes
) -> None:
    """A reply counts only when it is whole."""
    for pieces in every_cut(data + trailing):
        found, texts, _ = scan(pieces)
        assert (found, texts) == (count, errors)


@pytest.mark.parametrize(("data", "count", "errors"), RUNS)
def test_no_more_than_asked_for(data: bytes, count: int, errors: list[tuple[int, str]]) -> None:
    """`skip` stops behind the reply asked for; the next call goes on there."""
    scanner = ReplyScanner()
    scanner.feed(data)
    assert scanner.skip(0) == 0
    assert scanner.pending == len(data)
    assert [scanner.skip(1) for _ in range(count + 1)] == [1] * count + [0]
    assert scanner.errors == errors


class NestedError(Exception):
    """What hiredis makes of an error reply."""


@given(st.lists(replies, max_size=8), st.lists(st.integers(0, 4000), max_size=6), st.binary(max_size=3))
@settings(max_examples=150, deadline=None)
def test_counts_as_hiredis(found: list[bytes], cuts: list[int], trailing: bytes) -> None:
    """Replies of any nesting, cut anywhere: as many as hiredis reads, errors where hiredis has one at the top."""
    data = b"".join(found)
    oracle = hiredis.Reader(replyError=NestedError, notEnoughData=NestedError)
    oracle.feed(data)
    read = []
    while (reply := oracle.gets()) is not NestedError:
        read.append(reply)
    assert len(read) == len(found)

    count, errors, scanner = scan(cut(data + b":" + trailing.replace(b"\n", b""), cuts))

    assert count == len(read)
    assert [position for position, _ in errors] == [
        position for position, reply in enumerate(read) if isinstance(reply, NestedError)
    ]
    assert scanner.pending == 1 + len(trailing.replace(b"\n", b""))


@given(
    st.one_of(st.binary(max_size=200), st.text("*$+-:0129\r\nab", max_size=60).map(str.encode)), st.integers(0, 9)
)
@settings(max_examples=200, deadline=None)
def test_arbitrary_bytes_raise_only_our_errors(data: bytes, cuts: int) -> None:
    """Whatever comes is counted, waited for, or refused as corrupt; the same byte by byte."""

    def outcome(pieces: list[bytes]) -> object:
        try:
            return scan(pieces)[:2]
        except ShakerError as error:
            return type(error)

    assert outcome([data]) == outcome(cut(data, list(range(cuts, len(data), cuts + 1))))


@pytest.mark.parametrize(
    "data",
    [
        b"?\r\n",
        b"\r\n",
        b"$x\r\n",
        b"$\r\n",
        b"$-2\r\n",
        b"*-2\r\n",
        b"*1.0\r\n",
        b"$+1\r\n",
        b"$12345678901234567890\r\n",
    ],
)
def test_corrupt_replies_are_refused(data: bytes) -> None:
    """Bytes that are no reply raise, however they are cut."""
    for pieces in every_cut(b"+OK\r\n" + data):
        with pytest.raises(CorruptError):
            scan(pieces)


def test_endless_line_is_refused() -> None:
    """A line without an end is given up, not gathered for ever."""
    for read in (ReplyScanner.array_header, lambda scanner: scanner.skip(1)):
        scanner = ReplyScanner()
        scanner.feed(b"+" + b"x" * (MAX_LINE - 1))
        assert not read(scanner)
        scanner.feed(b"xx")
        with pytest.raises(CorruptError, match=str(MAX_LINE)):
            read(scanner)


def test_nothing_is_allocated_for_claimed_lengths() -> None:
    """An array or a string of nearly 2^63 items costs nothing but its header; its items are still waited for."""
    tracemalloc.start()
    try:
        count, errors, scanner = scan([b"*9223372036854775807\r\n$9223372036854775807\r\nabc"])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (count, errors, scanner.pending) == (0, [], 0)
    assert peak < 100_000


def test_bodies_are_not_held() -> None:
    """A reply larger than what may be held is skipped as it comes."""
    scanner = ReplyScanner()
    scanner.feed(b"*2\r\n$100000000\r\n")
    assert scanner.skip(1) == 0
    block = b"z" * 1_000_000
    for _ in range(100):
        scanner.feed(block)
        assert scanner.skip(1) == 0
        assert scanner.pending == 0
    scanner.feed(b"\r\n:1\r\n")
    assert scanner.skip(5) == 1


def test_errors_are_bounded() -> None:
    """However many and long the errors: all are counted, the first are kept, shortened."""
    many = MAX_ERRORS + 50
    _, errors, scanner = scan([(b"-ERR " + b"e" * 500 + b"\r\n") * many])
    assert scanner.error_count == many
    assert len(errors) == MAX_ERRORS
    assert all(len(text) == MAX_ERROR_TEXT for _, text in errors)


def test_clear_errors_starts_positions_anew() -> None:
    """Positions count from the last `clear_errors`."""
    scanner = ReplyScanner()
    scanner.feed(b"+OK\r\n-ERR a\r\n:1\r\n-ERR b\r\n")
    assert scanner.skip(2) == 2
    assert scanner.errors == [(1, "ERR a")]
    scanner.clear_errors()
    assert (scanner.errors, scanner.error_count) == ([], 0)
    assert scanner.skip(2) == 2
    assert scanner.errors == [(1, "ERR b")]


@pytest.mark.parametrize("same", [0, 1, 2, 3, 7, 8, 100])
@pytest.mark.parametrize("asked", [0, 1, 5, 8, 101])
@pytest.mark.parametrize("other", [b"", b"-ERR no\r\n", b"+QUEUEE\r\n", b"+QUEUE", b"$3\r\nabc\r\n+QUEUED\r\n"])
def test_skip_same(same: int, asked: int, other: bytes) -> None:
    """Exactly the replies in front that are the line are skipped, and count for the positions of errors."""
    line = b"+QUEUED\r\n"
    scanner = ReplyScanner()
    scanner.feed(line * same + other)
    assert scanner.skip_same(line, asked) == min(same, asked)
    if same <= asked and other.startswith(b"-"):
        assert scanner.skip(1) == 1
        assert scanner.errors == [(same, "ERR no")]


def test_skip_same_waits_for_an_open_reply() -> None:
    """The body of a reply that is not whole yet is not taken for a reply."""
    scanner = ReplyScanner()
    scanner.feed(b"$10\r\n")
    assert scanner.skip(1) == 0
    scanner.feed(b"+OK\r\n+OK\r\n\r\n+OK\r\n")
    assert scanner.skip_same(b"+OK\r\n", 5) == 0
    assert scanner.skip(1) == 1
    assert scanner.skip_same(b"+OK\r\n", 5) == 1


@pytest.mark.parametrize(
    ("data", "header", "errors"),
    [
        (b"*3\r\n", 3, []),
        (b"*0\r\n", 0, []),
        (b"*-1\r\n", -1, []),
        (b"-EXECABORT gone\r\n", -2, [(1, "EXECABORT gone")]),
    ],
)
def test_array_header(data: bytes, header: int, errors: list[tuple[int, str]]) -> None:
    """The header of EXEC's reply is read alone, once it is whole; an error is kept behind those before it."""
    for pieces in every_cut(b"+OK\r\n" + data):
        scanner = ReplyScanner()
        found = None
        skipped = 0
        for piece in pieces:
            scanner.feed(piece)
            skipped += scanner.skip(1 - skipped)
            if skipped:
                assert found is None
                found = scanner.array_header()
        assert found == header
        assert scanner.errors == errors
        assert scanner.pending == 0


@pytest.mark.parametrize("data", [b"+QUEUED\r\n", b":1\r\n", b"$1\r\na\r\n", b"\xff\r\n", b"\r\n"])
def test_array_header_refuses_another_reply(data: bytes) -> None:
    """What answers EXEC is an array or an error."""
    scanner = ReplyScanner()
    scanner.feed(data)
    with pytest.raises(CorruptError, match="not an array"):
        scanner.array_header()


def test_each_of_some_commands_goes_with_each_key() -> None:
    """Key by key, as if each request was encoded alone; any bytes are a key."""
    keys = [b"a", b"", b"\r\n\xff", b"k" * 300]
    expected = b"".join(encode("MEMORY", "USAGE", key) + encode("PTTL", key) for key in keys)
    assert encode_each([("MEMORY", "USAGE"), ("PTTL",)], keys) == expected
    assert encode_each([("DUMP",)], []) == b""


@given(st.lists(st.one_of(st.binary(max_size=80), st.integers(-(2**63), 2**63), st.text(max_size=20)), min_size=1))
@settings(max_examples=60, deadline=None)
def test_encode_is_read_back_by_hiredis(arguments: list[bytes | int | str]) -> None:
    """A request is an array of bulk strings: numbers in decimal, text in UTF-8."""
    reader = hiredis.Reader()
    reader.feed(encode(*arguments))
    assert reader.gets() == [
        argument if isinstance(argument, bytes) else str(argument).encode() for argument in arguments
    ]
    assert reader.gets() is False


# Requests whose replies are of every kind: the position of each error reply, and of no nested one.
REQUESTS: list[tuple[bytes | str | int, ...]] = [
    ("SET", b"k\r\n", b"\x00" * 3000),
    ("GET", b"k\r\n"),
    ("GET", "missing"),
    ("LPUSH", "k\r\n", "x"),
    ("RPUSH", "list", *range(300)),
    ("LRANGE", "list", 0, -1),
    ("LRANGE", "missing", 0, -1),
    ("EVAL", "return {1, {redis.error_reply('ERR nested'), {}}, redis.error_reply('ERR last')}", 0),
    ("COMMAND",),
    ("NOSUCHCOMMAND",),
    ("MULTI",),
    ("INCR", "n"),
    ("LPUSH", "k\r\n", "x"),
    ("EXEC",),
    ("PING",),
]


@pytest.mark.parametrize("name", NAMES)
def test_replies_of_real_servers(shared: Callable[[str], Server], name: str) -> None:
    """The replies of every server are counted, whole and byte by byte."""
    with socket.create_connection(("127.0.0.1", shared(name).port), 10.0) as link:
        link.sendall(b"".join(encode(*request) for request in REQUESTS) + encode("ECHO", "the end"))
        link.settimeout(10.0)
        data = b""
        while not data.endswith(b"$7\r\nthe end\r\n"):
            received = link.recv(65536)
            assert received
            data += received
    for pieces in every_cut(data, random_cuts=2):
        count, errors, scanner = scan(pieces)
        assert count == len(REQUESTS) + 1
        assert [position for position, _ in errors] == [3, 9]
        assert scanner.pending == 0

"""Commands are found in the stream with exact offsets, whatever they hold and however the bytes are cut."""

from __future__ import annotations

import re
import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shaker.codec.resp.command_events import Plain, Special
from shaker.codec.resp.command_kinds import MAX_NAMES
from shaker.codec.resp.command_stream import StreamReader
from shaker.codec.resp.replies import encode
from shaker.codec.resp.requests import whole
from shaker.errors import CorruptError, ShakerError, UnfaithfulError
from tests.support.command_stream import (
    MARKER,
    NOTED,
    SPECIAL,
    START,
    all_bits,
    feed,
    noted_commands,
    parse,
    some_special,
)
from tests.support.resp_strategies import commands, joined
from tests.support.splits import cut, every_cut

streams = st.lists(st.one_of(commands, some_special), max_size=10)


def reader(max_command: int = 1_000_000) -> StreamReader:
    """A reader of a stream that begins at START."""
    return StreamReader(START, special=SPECIAL, marker=MARKER, max_command=max_command)


def is_special(request: list[bytes]) -> bool:
    """Whether a command has to come out by itself: by its name, or an argument behind it."""
    return request[0].upper() in SPECIAL or any(argument.startswith(MARKER) for argument in request[1:])


def check(requests: list[list[bytes]], pieces: list[bytes], trailing: int = 0) -> None:
    """Read the pieces, which are `requests` and `trailing` more bytes, and check all that comes out."""
    stream = reader()
    found = feed(stream, pieces)

    data = b"".join(pieces)
    assert b"".join(piece.data for piece in found) == data[: len(data) - trailing]
    assert stream.offset == START + len(data) - trailing
    assert stream.held == trailing
    offset = START
    seen = []
    for piece in found:
        offset += len(piece.data)
        assert piece.end_offset == offset
        inside = parse(piece.data)
        if isinstance(piece, Plain):
            assert piece.commands == len(inside) > 0
        else:
            assert inside == [piece.arguments]
            assert piece.name == piece.arguments[0].upper()
        seen += [(isinstance(piece, Special), arguments) for arguments in inside]
    assert seen == [(is_special(request), request) for request in requests]


@given(streams, st.lists(st.integers(0, 3000), max_size=8))
@settings(max_examples=150, deadline=None)
def test_round_trip(requests: list[list[bytes]], cuts: list[int]) -> None:
    """Generated commands come out as they went in: bytes, arguments, offsets, names in any case."""
    check(requests, cut(joined(requests), cuts))


CASES = {
    "runs of one command": [[b"INCR", b"k"]] * 5,
    "a name alone": [[b"EXEC"], [b"EXEC"], [b"EXECUTE"], [b"EXEC"]],
    "names that begin alike": [[b"SET", b"a", b"b"], [b"SETEX", b"a", b"1", b"b"], [b"SET", b"c", b"d"]],
    "counts that begin alike": [[b"DEL"] + [b"k"] * 9, [b"DEL", b"k"], [b"DEL"] + [b"k"] * 10, [b"DEL", b"k"]],
    "an empty name": [[b""], [b"", b"a"], [b""]],
    "steering between": [[b"SET", b"a", b"b"], [b"select", b"9"], [b"SET", b"a", b"b"], [b"PING"], [b"pinG"]],
    "steering as arguments": [[b"SET", b"PING", b"SELECT"], [b"RPUSH", b"l", b"*1\r\n$4\r\nPING\r\n"]],
    "the marker": [[b"SET", b"shaker:x", b""], [b"GET", b"xshaker:"], [b"SET", b"shaker", b":"]],
    "a marker across arguments": [[b"SET", b"sha", b"ker:"], [b"SET", b"a", b"shaker:"]],
    "a long command": [[b"SET", b"k", b"v" * 20_000], [b"PING"]],
    "many arguments": [[b"RPUSH", b"l", *[b"%d" % number for number in range(2000)]], [b"INCR", b"k"]],
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("trailing", [b"", b"*", b"*3\r\n$3\r\nSET\r\n$1000\r\nab", b"*1\r\n$4\r\nPING\r"])
def test_every_cut(name: str, trailing: bytes) -> None:
    """Whole, byte by byte, cut at random, with the beginning of a command behind."""
    for pieces in every_cut(joined(CASES[name]) + trailing):
        check(CASES[name], pieces, len(trailing))


def test_runs_are_not_cut_up() -> None:
    """Ordinary commands come as one run, the bytes as they came and not copied."""
    data = joined([[b"SET", b"k", b"v"], [b"INCR", b"n"], [b"DEL", b"k"]])
    [plain] = reader().feed(data)
    assert plain == Plain(data, 3, START + len(data))
    assert plain.data is data


def test_more_names_than_remembered() -> None:
    """However many spellings of names come, each steering command is still found."""
    requests = [[b"name%d" % number] for number in range(MAX_NAMES + 10)]
    check(
        [*requests, [b"pINg"], [b"SELEct", b"1"], *requests[-3:]],
        [joined([*requests, [b"pINg"], [b"SELEct", b"1"], *requests[-3:]])],
    )


GOOD = encode("SET", "key", "value")
# Bytes that break the protocol, and where in them the byte is that is named.
CORRUPT = [
    (b"+OK\r\n", 0),
    (b"\r\n", 0),
    (b"\n", 0),
    (b"\0\r", 0),
    (b"PING\r\n", 0),
    (b"*0\r\n", 0),
    (b"*-1\r\n", 1),
    (b"*2147483648\r\n", 0),
    (b"*x\r\n", 1),
    (b"*\r\n", 1),
    (b"*12345678901234567890123", 0),
    (b"*1\r\n+PING\r\n", 4),
    (b"*1\r\n$-1\r\n", 5),
    (b"*1\r\n$1x\r\na\r\n", 5),
    (b"*1\r\n$4\r\nPINGx\n", 12),
    (b"*2\r\n$3\r\nGET\r\n*1\r\n", 13),
]


@pytest.mark.parametrize(("bad", "place"), CORRUPT)
def test_corrupt_bytes_are_named(bad: bytes, place: int) -> None:
    """The error names the offset of the byte; a cut inside a header may name the header's begin."""
    with pytest.raises(CorruptError, match=rf"at offset {START + len(GOOD) + place}:") as caught:
        reader().feed(GOOD + bad)
    assert caught.value.kind == "corrupt"
    for pieces in every_cut(GOOD + bad):
        with pytest.raises(CorruptError) as caught:
            feed(reader(), pieces)
        named = int(re.findall(r"at offset (\d+)", str(caught.value))[0]) - START - len(GOOD)
        assert place - 1 <= named <= place


@pytest.mark.parametrize("bad", [bad for bad, _ in CORRUPT])
def test_corrupt_bytes_come_first(bad: bytes) -> None:
    """What no command came before is looked at as closely (found by fuzzing: a zero byte passed for a command)."""
    with pytest.raises(CorruptError):
        reader().feed(bad)


def test_corrupt_bytes_are_not_shown() -> None:
    """An error holds no value: neither of the good commands nor of the bad bytes."""
    with pytest.raises(CorruptError) as caught:
        reader().feed(encode("SET", "key", "secret") + b"secret\r\n")
    assert "secret" not in str(caught.value)


def test_an_error_in_place_of_a_command_is_quoted() -> None:
    """And nothing that only begins like one: where a length was damaged, a value may begin here."""
    with pytest.raises(CorruptError, match=rf"inside the stream, at offset {START + len(GOOD)}: '-ERR no more'"):
        reader().feed(GOOD + b"-ERR no more\r\nPING\r\n")
    with pytest.raises(CorruptError) as caught:
        reader().feed(GOOD + b"-secret value\r\n")
    assert "secret" not in str(caught.value)


@given(st.one_of(st.binary(max_size=200), st.text("*$0123\r\nab", max_size=80).map(str.encode)), st.integers(0, 9))
@settings(max_examples=200, deadline=None)
def test_arbitrary_bytes(data: bytes, step: int) -> None:
    """Whatever the bytes are, only our errors come, and the same commands come before, for each cut."""

    def outcome(pieces: list[bytes]) -> tuple[int, object]:
        stream = reader(max_command=1000)
        try:
            feed(stream, pieces)
        except ShakerError as error:
            return -1, type(error)
        return stream.offset, stream.held

    assert outcome([data]) == outcome(cut(data, list(range(step, len(data), step + 1))))


@pytest.mark.parametrize(
    "claim",
    [
        b"*2\r\n$3\r\nSET\r\n$9223372036854775807\r\nabc",
        b"*2147483647\r\n$3\r\nSET\r\n$1\r\na\r\n",
        b"*1000000\r\n$3\r\nSET\r\n$1\r\na\r\n",
        b"*2\r\n$3\r\nSET\r\n$1000\r\n",
    ],
)
def test_claimed_lengths_are_refused_before_they_come(claim: bytes) -> None:
    """What a command must need at least is known from its header; nothing is allocated for it."""
    stream = reader(max_command=1000)
    tracemalloc.start()
    try:
        with pytest.raises(UnfaithfulError, match=rf"a SET command at offset {START + len(GOOD)} needs") as caught:
            stream.feed(GOOD + claim)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert caught.value.kind == "too_large"
    for pieces in every_cut(GOOD + claim):
        # Where the name has not come yet, it is not made up.
        with pytest.raises(UnfaithfulError, match=rf"a (SET|S|SE|\?) command at offset {START + len(GOOD)} needs"):
            feed(reader(max_command=1000), pieces)
    assert "SHAKER_SNAPSHOT__MAX_VALUE" in str(caught.value)
    assert peak < 100_000


def test_no_more_than_the_limit_is_held() -> None:
    """A command of small arguments is refused as soon as it has grown too large, byte by byte."""
    stream = reader(max_command=1000)
    data = encode("RPUSH", "list", *range(100), "x" * 500)
    with pytest.raises(UnfaithfulError, match="a RPUSH command"):
        feed(stream, cut(data, list(range(len(data)))))
    assert stream.held <= 1001


def test_a_command_of_the_limit_passes() -> None:
    """The limit is the size of the command's bytes."""
    data = encode("SET", "k", "v" * 972)
    assert len(data) == 1000
    for pieces in every_cut(data):
        [found] = feed(reader(max_command=1000), pieces)
        assert found == Plain(data, 1, START + 1000)


def test_a_large_command_takes_no_longer_in_pieces() -> None:
    """The bytes of a command of many arguments are not copied anew with each chunk."""
    data = encode("RPUSH", "list", *["" for _ in range(500_000)])

    def seconds(pieces: list[bytes]) -> float:
        stream = StreamReader(0, special=SPECIAL, marker=MARKER, max_command=len(data))
        begin = time.process_time()
        feed(stream, pieces)
        assert stream.offset == len(data)
        return time.process_time() - begin

    assert seconds(cut(data, list(range(0, len(data), 1000)))) < 5 * seconds([data]) + 0.1


def check_noted(requests: list[list[bytes]], pieces: list[bytes]) -> None:
    """A run has the bits of all of its commands, and no others."""
    stream = StreamReader(START, special=SPECIAL, marker=MARKER, max_command=1_000_000, noted=NOTED)
    for piece in feed(stream, pieces):
        if isinstance(piece, Plain):
            assert piece.noted == all_bits(parse(piece.data))


@given(
    st.lists(st.one_of(commands, some_special, noted_commands, noted_commands), max_size=12),
    st.lists(st.integers(0, 3000), max_size=8),
)
@settings(max_examples=200, deadline=None)
def test_runs_tell_what_is_noted(requests: list[list[bytes]], cuts: list[int]) -> None:
    """Whatever is around a noted command, in whatever case it is spelled, and wherever the bytes are cut."""
    check_noted(requests, cut(joined(requests), cuts))


SET4, SET3 = [b"SET", b"k", b"v", b"XX"], [b"SET", b"k", b"v"]
NOTED_CASES = {
    "one like the one before": ([SET4, SET4, SET4], [1]),
    "too few arguments": ([SET3, SET3], [0]),
    "few arguments between": ([SET3, SET4, SET3], [1]),
    "two sorts": ([SET4, [b"INCR", b"k"], [b"rename", b"a", b"b"]], [3]),
    "none": ([[b"INCR", b"k"], [b"SETRANGE", b"k", b"1", b"v"], [b"RENAMENX", b"a", b"b"]], [0]),
    "runs apart": ([SET4, [b"INCR", b"k"], [b"PING"], [b"INCR", b"k"]], [1, 0]),
    "the same again behind": ([SET4, [b"PING"], SET4, [b"INCR", b"k"]], [1, 1]),
    "with the marker": ([SET4, [b"SET", b"shaker:x", b"v", b"XX"], [b"INCR", b"k"]], [1, 0]),
}


@pytest.mark.parametrize("name", NOTED_CASES)
def test_bits_of_runs(name: str) -> None:
    """At least arguments, cases, runs; cut anywhere, none is missed."""
    requests, expected = NOTED_CASES[name]
    stream = StreamReader(START, special=SPECIAL, marker=MARKER, max_command=1_000_000, noted=NOTED)
    assert [piece.noted for piece in stream.feed(joined(requests)) if isinstance(piece, Plain)] == expected
    for pieces in every_cut(joined(requests)):
        check_noted(requests, pieces)


def test_every_spelling_is_noted() -> None:
    """More names than are remembered do not hide one."""
    others = [[b"name%d" % number] for number in range(MAX_NAMES + 10)]
    stream = StreamReader(START, special=SPECIAL, marker=MARKER, max_command=1_000_000, noted=NOTED)
    stream.feed(joined(others))
    for name in (b"EXPIRE", b"expire", b"eXpIre"):
        [run] = stream.feed(joined([[b"INCR", b"k"], [name, b"k", b"9"], [b"INCR", b"k"]]))
        assert isinstance(run, Plain)
        assert run.noted == 4


# --- runs without what all of their commands begin with ---

HEAD = b"*3\r\n$3\r\nSET\r\n"
LEAST = 2


def bare_reader() -> StreamReader:
    """A reader that gives two and more SET without their beginning, and leaves out what frames transactions."""
    special = SPECIAL | {b"MULTI", b"EXEC"}
    return StreamReader(
        START, special=special, marker=MARKER, max_command=1_000_000, frame=(b"MULTI", b"EXEC"),
        prefix_free=HEAD, least_prefix_free=LEAST,
    )  # fmt: skip


def check_bare(requests: list[list[bytes]], pieces: list[bytes]) -> list[int]:
    """All commands come as they were sent; the result is how many came prefix_free in each run, 0 for none."""
    seen, prefix_free = [], []
    for piece in feed(stream := bare_reader(), pieces):
        if not isinstance(piece, Plain):
            if piece.name not in (b"MULTI", b"EXEC") or len(piece.arguments) > 1:
                seen.append(encode(*piece.arguments))
            continue
        data = whole(piece.data, piece.prefix)
        found = parse(data)
        assert piece.commands == len(found)
        seen += [encode(*request) for request in found]
        prefix_free.append(piece.commands if piece.prefix else 0)
        if piece.prefix:
            assert piece.prefix.upper() == HEAD
            assert piece.commands >= LEAST
            assert data.startswith(piece.prefix)
    frames = ([b"MULTI"], [b"EXEC"])
    assert seen == [encode(*request) for request in requests if request not in frames]
    assert stream.offset == START + len(joined(requests))
    return prefix_free


OTHER, LOWER, INCREASE = [b"SET", b"k", b"v", b"XX"], [b"set", b"k", b"v"], [b"INCR", b"k"]
BARE = {
    "all alike": ([SET3, SET3, SET3], [3]),
    "alone": ([SET3], [0]),
    "in another case": ([LOWER, LOWER], [2]),
    "in two cases": ([SET3, SET3, LOWER, LOWER], [0]),
    "another number of arguments": ([SET3, SET3, OTHER], [0]),
    "another command first": ([INCREASE, SET3, SET3], [0]),
    "another command last": ([SET3, SET3, INCREASE], [0]),
    "runs apart": ([SET3, SET3, [b"PING"], SET3, [b"PING"], INCREASE, INCREASE], [2, 0, 0]),
    "the second run": ([INCREASE, SET3, [b"PING"], SET3, SET3], [0, 2]),
    "a reserved key between": ([SET3, SET3, [b"SET", b"shaker:x", b"v"], SET3, SET3], [2, 2]),
    "a name alone before": ([[b"NOTHING"], SET3, SET3], [0]),
    "a name alone behind": ([SET3, SET3, [b"NOTHING"]], [0]),
    "a long name before": ([[b"n" * 60, b"k"], [b"PING"], SET3, SET3], [0, 2]),
    "beginnings in values": ([[b"SET", b"k", HEAD], [b"SET", HEAD * 2, b"\r\n" + HEAD]], [2]),
    "nothing in them": ([[b"SET", b"", b""], [b"SET", b"", b""]], [2]),
    "long ones": ([[b"SET", b"k" * 500, b"v" * 5000], [b"SET", b"k" * 10, b"v" * 50]], [2]),
    "a transaction among them": ([SET3, [b"MULTI"], SET3, SET3, [b"EXEC"], SET3], [4]),
    "transactions alone": ([[b"MULTI"], SET3, [b"EXEC"], [b"MULTI"], SET3, [b"EXEC"]], [2]),
    "another command before a transaction": ([INCREASE, [b"MULTI"], SET3, SET3, [b"EXEC"]], [0]),
    "another command in a transaction": ([SET3, SET3, [b"MULTI"], INCREASE, [b"EXEC"], SET3], [0]),
    "a transaction that goes on": ([SET3, SET3, [b"MULTI"], SET3, SET3, SET3], [2, 3]),
    "a special one in a transaction": (
        [SET3, SET3, [b"MULTI"], SET3, SET3, [b"PING"], SET3, SET3, [b"EXEC"]],
        [2, 2, 2],
    ),
}


@pytest.mark.parametrize("name", BARE)
def test_bare_runs(name: str) -> None:
    """Those of nothing else; wherever the bytes are cut, every command is there with all of its bytes."""
    requests, expected = BARE[name]
    assert check_bare(requests, [joined(requests)]) == expected
    for pieces in every_cut(joined(requests)):
        check_bare(requests, pieces)


def test_a_command_that_was_cut_is_no_other() -> None:
    """A run goes on with the rest of the command that the cut has parted."""
    data = joined([SET3] * 6)
    size = len(data) // 6
    for at in range(2 * size + 1, 3 * size):
        assert check_bare([SET3] * 6, [data[:at], data[at:]]) == [2, 4]


@given(
    st.lists(
        st.sampled_from(
            [
                SET3,
                SET3,
                SET3,
                SET3,
                OTHER,
                LOWER,
                [b"PING"],
                [b"X"],
                [b"MULTI"],
                [b"EXEC"],
                [b"SET", b"shaker:", b"v"],
            ]
        ),
        max_size=25,
    ),
    st.lists(st.integers(0, 800), max_size=8),
)
@settings(max_examples=400, deadline=None)
def test_nothing_is_lost_of_bare_runs(requests: list[list[bytes]], cuts: list[int]) -> None:
    """Around special commands, in and around transactions, whole or not."""
    check_bare(requests, cut(joined(requests), cuts))

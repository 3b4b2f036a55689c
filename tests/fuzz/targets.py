"""What a fuzzer calls: each takes any bytes, and raises nothing but an AssertionError where a promise is broken."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from shaker.codec.rdb.lzf import decompress
from shaker.codec.rdb.reader import SnapshotReader
from shaker.codec.resp.replies import ReplyScanner
from shaker.codec.resp.reply_values import ReplyParser
from shaker.codec.resp.requests import whole
from shaker.errors import LinkError, ShakerError
from shaker.model.batch import Batch
from shaker.psync.batches import StreamAssembler
from shaker.psync.session import ReplicaSession
from shaker.rules.chain import Chain
from shaker.rules.command_table import CommandTable
from tests.support.rdb_bytes import merge

MAX_VALUE: Final = 1 << 20
TABLE: Final = CommandTable({})


def pieces_of(data: bytes) -> list[bytes]:
    """Cut the data by their own first byte, so that a fuzzer finds the cuts, too."""
    if not data:
        return [b""]
    step = data[0] % 64 + 1
    return [data[at : at + step] for at in range(1, len(data), step)]


def _outcome(feed: Callable[[bytes], Any], pieces: list[bytes]) -> list[Any] | str:
    """Return all that came of the pieces, or that they were refused: for what reason may depend on the cut."""
    found: list[Any] = []
    try:
        for piece in pieces:
            found += feed(piece)
    except ShakerError as error:
        text = str(error)
    else:
        return found
    assert len(text) < 2000
    return "refused"


def snapshot(data: bytes) -> None:
    """An RDB: the same for every cut, and never done without its end."""
    one, other = SnapshotReader(max_value=MAX_VALUE), SnapshotReader(max_value=MAX_VALUE)
    whole, cut = _outcome(one.feed, [data[1:]]), _outcome(other.feed, pieces_of(data))
    assert one.done == other.done
    assert (merge(whole) if isinstance(whole, list) else whole) == (merge(cut) if isinstance(cut, list) else cut)
    assert not one.done or b"\xff" in data


def stream(data: bytes) -> None:
    """The replication stream: the same commands and the same offset for every cut."""
    results = []
    for pieces in ([data[1:]], pieces_of(data)):
        assembler = StreamAssembler(replid="r", offset=0, database=0, chain=Chain(TABLE), max_transaction=MAX_VALUE)
        found = _outcome(assembler.feed, pieces)
        if isinstance(found, str):
            results.append(found)
        else:
            batches = [event for event in found if isinstance(event, Batch)]
            results.append((assembler.offset, [_commands(batches), sum(batch.commands for batch in batches)]))
    assert results[0] == results[1]


def _commands(batches: list[Batch]) -> list[tuple[int, bytes]]:
    """Return the bytes for each database in order, however they were cut into parts."""
    found: list[tuple[int, bytes]] = []
    for batch in batches:
        for part in batch.parts:
            data = whole(part.data, part.prefix)
            if found and found[-1][0] == part.database:
                found[-1] = (part.database, found[-1][1] + data)
            else:
                found.append((part.database, data))
    return found


def session(data: bytes) -> None:
    """A whole conversation with a source."""
    talk = ReplicaSession(username=None, password=None, max_value=MAX_VALUE, pass_above=MAX_VALUE // 4)
    talk.start()
    asked = False
    try:
        for piece in pieces_of(data):
            if talk.receive_data(piece) and not asked:
                asked = True
                talk.request(None, 0, 0, chain=Chain(TABLE))
    except ShakerError as error:
        text = str(error)
    else:
        return
    assert len(text) < 2000


def replies(data: bytes) -> None:
    """Replies of a target: counted and read alike, whatever the cut."""
    counts, values = [], []
    for pieces in ([data[1:]], pieces_of(data)):
        scanner, reader = ReplyScanner(), ReplyParser(LinkError)

        def count(piece: bytes, scanner: ReplyScanner = scanner) -> list[int]:
            scanner.feed(piece)
            return [1] * scanner.skip(1 << 30)

        def read(piece: bytes, reader: ReplyParser = reader) -> list[Any]:
            reader.feed(piece)
            found: list[Any] = []
            while (taken := reader.take(2))[1]:
                found += reader.values(taken[0], 0, taken[1])
            return found

        counts.append(_outcome(count, pieces))
        values.append(_outcome(read, pieces))
    assert counts[0] == counts[1]
    assert repr(values[0]) == repr(values[1])
    if isinstance(values[0], list):
        assert len(values[0]) == len(counts[0])


def lzf(data: bytes) -> None:
    """Compressed strings: exactly the length that was announced, or refused."""
    size = int.from_bytes(data[:2], "big")
    with suppress(ShakerError):
        assert len(decompress(data[2:], size)) == size


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    "snapshot": snapshot,
    "stream": stream,
    "session": session,
    "replies": replies,
    "lzf": lzf,
}

"""What a real source sent, read again with every cut and with damage."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shaker.errors import CorruptError
from shaker.rules.command_table import CommandTable
from tests.support.outcome import applied, keys_of, others
from tests.support.psync_driver import Conversation, Recording, single_bytes, whole
from tests.support.servers import DEFAULT, Server
from tests.support.splits import cut, every_cut


@pytest.fixture(scope="module")
def recordings(shared: Callable[[str], Server], table: Callable[[str], CommandTable]) -> dict[str, Recording]:
    """A full sync with $EOF and one with $<length>, each with some stream behind, for cutting and damage."""
    found = {}
    for diskless in ("yes", "no"):
        server = shared(DEFAULT)
        client = server.client()
        client.config_set("repl-diskless-sync", diskless)
        client.set("a", "1")
        client.hset("hash", mapping={"f": "v"})
        server.client(db=5).rpush("list", 1, 2, 3)
        with Conversation(server, table(DEFAULT)) as conversation:
            conversation.sync()
            with client.pipeline() as pipeline:
                pipeline.set("b", 1).incr("c").execute()
            server.client(db=5).lpop("list")
            conversation.catch_up(server)
            found[diskless] = conversation.recording()
    return found


class TestCuts:
    """What a source sent, cut otherwise."""

    @pytest.mark.parametrize("diskless", ["yes", "no"])
    def test_around_the_snapshot(self, recordings: dict[str, Recording], diskless: str) -> None:
        """One cut at each place from before the answer's header to behind the first commands of the stream."""
        recording = recordings[diskless]
        expected, session = recording.replay()
        assert len(applied(expected).commands) == 3
        for place in range(1, len(recording.answer)):
            events, cut_session = recording.replay(lambda data, place=place: cut(data, [place]))  # type: ignore[misc]
            assert others(events) == others(expected)
            assert keys_of(events) == keys_of(expected)
            assert applied(events) == applied(expected)
            assert cut_session.received_offset == session.received_offset
            assert cut_session.snapshot_bytes == session.snapshot_bytes

    def test_around_the_mark(self, recordings: dict[str, Recording]) -> None:
        """The mark cut in three, with the end of the snapshot before it and the stream right behind it."""
        recording = recordings["yes"]
        begin = recording.answer.index(b"$EOF:") + 5
        mark = recording.answer[begin : begin + 40]
        first = recording.answer.rindex(mark)
        expected = recording.replay()[0]
        for start in range(first - 10, first + 41):
            for stop in range(start + 1, first + 60, 7):
                events = recording.replay(lambda data, start=start, stop=stop: cut(data, [start, stop]))[0]  # type: ignore[misc]
                assert others(events) == others(expected)
                assert keys_of(events) == keys_of(expected)
                assert applied(events) == applied(expected)

    @pytest.mark.parametrize("diskless", ["yes", "no"])
    def test_newlines_between(self, recordings: dict[str, Recording], diskless: str) -> None:
        """Newlines before each line of the answer change nothing, wherever the bytes are cut."""
        recording = recordings[diskless]
        line, rest = recording.answer.split(b"\r\n", 1)
        patient = recording._replace(answer=b"\n\n" + line + b"\r\n\n\n\n" + rest)
        expected = recording.replay()[0]
        for pieces in every_cut(patient.answer):
            events = patient.replay(lambda data, pieces=pieces: pieces if data == patient.answer else [data])[0]  # type: ignore[misc]
            assert others(events) == others(expected)
            assert applied(events) == applied(expected)

    def test_another_mark(self, recordings: dict[str, Recording]) -> None:
        """A snapshot followed by anything but its mark is corrupt, at the first byte that differs."""
        recording = recordings["yes"]
        begin = recording.answer.index(b"$EOF:") + 5
        first = recording.answer.rindex(recording.answer[begin : begin + 40])
        for place in (first, first + 20, first + 39):
            answer = bytearray(recording.answer)
            answer[place] ^= 1
            damaged = recording._replace(answer=bytes(answer[: place + 1]))
            for pieces in (whole, single_bytes):
                with pytest.raises(CorruptError, match="not followed by the mark"):
                    damaged.replay(pieces)

    @pytest.mark.parametrize("by", [-1000, -1, 1, 1000])
    def test_another_length(self, recordings: dict[str, Recording], by: int) -> None:
        """A snapshot shorter or longer than announced is corrupt."""
        recording = recordings["no"]
        line, length, rest = recording.answer.split(b"\r\n", 2)
        # A source that is still saving its snapshot may have sent newlines to keep the link alive.
        told = b"$%d" % max(0, int(length.lstrip(b"\n")[1:]) + by)
        damaged = recording._replace(answer=b"\r\n".join((line, told, rest)))
        for pieces in (whole, single_bytes):
            with pytest.raises(CorruptError, match=r"the snapshot (does not end within|ends after)"):
                damaged.replay(pieces)

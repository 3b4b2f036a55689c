"""Fence and checkpoint as they stand in the target: written whole, read back equal, never guessed at."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shaker.apply import records
from shaker.apply.records import SCHEMA, Checkpoint, Fence, checkpoint_key, fence_key, writer_name, writer_prefix
from shaker.codec.resp.requests import split
from shaker.errors import RefusedError
from shaker.model.position import Phase
from shaker.rules.record_keys import is_record, records_of
from tests.support.servers import Server

numbers = st.integers(0, 2**63)
texts = st.text(st.characters(blacklist_categories=("Cs",)), max_size=20)
checkpoints = st.builds(
    Checkpoint,
    phase=st.sampled_from([Phase.SNAPSHOT, Phase.STREAM]),
    replid=texts, offset=numbers, database=numbers, confirmed=numbers, snapshot=texts, snapshot_batch=numbers,
    rejected=numbers, rejected_last=texts, sweep=texts, expiring=numbers, source=texts, source_run_id=texts,
    epoch=numbers, connection=numbers, schema=st.just(SCHEMA),
)  # fmt: skip
fences = st.builds(Fence, numbers, texts, numbers, texts)


def record(command: bytes) -> dict[str, str]:
    """Return what a HSET leaves in an empty key."""
    texts = [argument.decode() for argument in split(command)[2:]]
    return dict(zip(texts[::2], texts[1::2], strict=True))


@given(checkpoints)
def test_a_checkpoint_comes_back(checkpoint: Checkpoint) -> None:
    """All fields are written, always: no transaction can leave a stump."""
    command = checkpoint.command("n")

    assert split(command)[:2] == [b"HSET", b"shaker:checkpoint:n"]
    assert set(record(command)) == set(Checkpoint._fields)
    assert Checkpoint.parse(record(command)) == checkpoint


@given(fences)
def test_a_fence_comes_back(fence: Fence) -> None:
    """All fields of the fence are written, always."""
    command = fence.command("n")

    assert split(command)[:2] == [b"HSET", b"shaker:fence:n"]
    assert Fence.parse(record(command)) == fence
    assert [str(argument).encode() for argument in fence.arguments("n")] == split(command)


def test_through_a_server(target: Server) -> None:
    """What a server gives back by HGETALL is what was written."""
    client = target.client(decode_responses=True)
    checkpoint = Checkpoint(
        "stream", "id", 2**62, 3, rejected=1, rejected_last="INCR ключ: ERR\nx", source="[::1]:1"
    )
    client.execute_command(*[part.decode() for part in split(checkpoint.command("n"))])

    assert Checkpoint.parse(client.hgetall(checkpoint_key("n"))) == checkpoint  # type: ignore[arg-type]


def test_nothing_is_no_checkpoint() -> None:
    """An empty reply means that there is none."""
    assert Checkpoint.parse({}) is None
    assert Fence.parse({}) is None


@pytest.mark.parametrize(
    "change",
    [
        {"phase": "another"},
        {"phase": ""},
        {"schema": "2"},
        {"offset": "many"},
        {"offset": ""},
        {"snapshot_batch": "1.5"},
    ],
)
def test_a_checkpoint_that_cannot_be_read_is_refused(change: dict[str, str]) -> None:
    """A damaged or newer record is not guessed at."""
    with pytest.raises(RefusedError) as caught:
        Checkpoint.parse(record(Checkpoint("stream").command("n")) | change)

    assert caught.value.exit_code == 3


def test_a_stump_of_a_checkpoint_is_refused() -> None:
    """Fields alone, without a phase, are what an HSET of an offset leaves behind a FLUSHALL."""
    with pytest.raises(RefusedError):
        Checkpoint.parse({"offset": "10"})


@pytest.mark.parametrize("found", [{"epoch": "1"}, {"token": "t"}, {"epoch": "x", "token": "t"}])
def test_a_stump_of_a_fence_is_none(found: dict[str, str]) -> None:
    """Without epoch and token there is nobody that it names."""
    assert Fence.parse(found) is None


def test_names() -> None:
    """Keys and connection names belong to one replication name each."""
    assert (fence_key("a"), checkpoint_key("a")) == ("shaker:fence:a", "shaker:checkpoint:a")
    assert writer_name("a", "t") == "shaker-writer:a:t"
    assert not writer_name("ab", "t").startswith(writer_prefix("a"))


def test_every_record_is_known_as_one() -> None:
    """Whoever counts or skips records by the list of their kinds misses none."""
    keys = (
        *(records.fence_key, records.checkpoint_key, records.stale_key, records.expiring_key, records.copying_key),
        *(records.doubtful_key, records.unconfirmed_key, records.building_key, records.rebuilding_key),
    )
    assert [key("name") for key in keys] == records_of("name")
    assert all(is_record(key.encode()) for key in records_of("name"))

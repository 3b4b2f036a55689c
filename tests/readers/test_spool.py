"""The disk spool gives back what it took, in order, and leaves nothing behind."""

import os
from pathlib import Path
from random import Random

import anyio
import pytest

from shaker.errors import LinkError
from shaker.readers.spool import Spool

pytestmark = pytest.mark.anyio


async def test_bytes_come_back_in_order_over_many_segments(tmp_path: Path) -> None:
    random = Random(7)
    spool = Spool(tmp_path, limit=1 << 20, segment_bytes=1000)
    written = read = b""
    while len(written) < 200_000:
        if random.random() < 0.6:
            data = random.randbytes(random.randint(1, 700))
            written += data
            await spool.put(data)
        else:
            read += await spool.get(random.randint(1, 900))
        assert spool.size == len(written) - len(read)
    while spool.size:
        read += await spool.get(333)

    assert read == written
    assert await spool.get(10) == b""


async def test_reading_and_writing_at_once_do_not_mix(tmp_path: Path) -> None:
    chunks = [bytes([number % 256]) * (number % 900 + 1) for number in range(400)]
    spool = Spool(tmp_path, limit=1 << 20, segment_bytes=5000)
    read = bytearray()

    async def write() -> None:
        for chunk in chunks:
            await spool.put(chunk)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write)
        while len(read) < sum(map(len, chunks)):
            read += await spool.get(777)
            await anyio.lowlevel.checkpoint()

    assert bytes(read) == b"".join(chunks)


async def test_full_is_told_at_the_limit_and_nothing_is_left_on_disk(tmp_path: Path) -> None:
    spool = Spool(tmp_path, limit=1000)
    await spool.put(b"x" * 999)
    assert not spool.full
    await spool.put(b"x")
    assert spool.full
    assert os.listdir(tmp_path) == []

    spool.close()
    assert spool.size == 0


async def test_a_directory_that_is_not_there_is_named_with_its_setting(tmp_path: Path) -> None:
    with pytest.raises(LinkError, match=r"spool\.dir") as caught:
        await Spool(tmp_path / "missing", limit=1000).put(b"x")
    assert caught.value.kind == "spool"

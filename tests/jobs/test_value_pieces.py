"""Values are read in pieces of bounded size, and give the same elements as their payloads."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shaker.codec.values.content import Digester, content
from shaker.codec.values.decoder import payload_version
from shaker.codec.values.elements import Element
from shaker.jobs import value_pieces
from shaker.jobs.value_pieces import READS, Replies, Value
from shaker.net.client import open_client
from shaker.settings.schema import Settings
from tests.jobs.test_copy_large import KINDS, fill
from tests.support.servers import SOURCES, Server

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

Servers = Callable[..., Server]


@pytest.mark.parametrize("name", SOURCES)
async def test_pieces_make_the_content_of_the_payload(
    name: str, server: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of every type, on every version; each piece is of a bounded size."""
    monkeypatch.setattr(value_pieces, "PIECE_BYTES", 30_000)
    source = server(name)
    fields = name in ("redis-8.0", "valkey-9.1")
    fill(source.client(), fields=fields)
    settings = Settings(source={"url": source.url}, target={"url": "redis://127.0.0.1:1"})  # type: ignore[arg-type]
    async with open_client(settings.source) as client:
        for key in KINDS:
            size = await client.call("MEMORY", "USAGE", key)
            kind, read = READS[key.encode()]
            elements: list[Element] = []
            reading, largest, now = read(Value(key.encode(), size, fields), elements), 0, source.client().time()
            requests = next(reading)
            digester = Digester()
            while True:
                replies = await client.results(requests, "reading")
                try:
                    requests = reading.send(Replies(replies, now[0] * 1000 + now[1] // 1000))
                except StopIteration:
                    break
                finally:
                    largest = max(largest, *(len(reply) for reply in replies if isinstance(reply, bytes | list)), 0)
                    for element in elements:
                        digester.add(element)
                    elements.clear()
            payload = source.client().execute_command("DUMP", key)
            assert digester.content(kind).same(content([payload], version=payload_version(payload))), key
            assert largest <= (30_000 if key == "string" else 3000), key

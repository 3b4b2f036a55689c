"""A registered writer on an empty target, in the stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.support.deferred import (
    COUNTED,
    Feeding,
)
from tests.support.servers import Server
from tests.support.target_driver import Stream, Writer, start_stream


@pytest.fixture
def make_writer() -> Iterator[Callable[..., Writer]]:
    """A factory of writers that are not registered yet."""
    with ExitStack() as stack:

        def make(server: Server, **options: Any) -> Writer:
            return stack.enter_context(Writer(server, **options))

        yield make


@pytest.fixture
def stream() -> Stream:
    """A source's stream."""
    return Stream()


@pytest.fixture
def writer(make_writer: Callable[..., Writer], target: Server, stream: Stream) -> Writer:
    """A writer in the stream on an empty target."""
    writer = make_writer(target)
    writer.register()
    start_stream(writer, stream)
    return writer


@pytest.fixture(params=[1 << 16, 1], ids=["whole", "byte by byte"])
def sliced(request: pytest.FixtureRequest, writer: Writer) -> Writer:
    """A writer in the stream that gets its replies whole, or in slices of one byte."""
    writer.slice = request.param
    return writer


@pytest.fixture
def forgetful(server: Callable[..., Server], make_writer: Callable[..., Writer], stream: Stream) -> Writer:
    """A writer in the stream on a target that keeps what SAVE has saved."""
    writer = make_writer(server(save="3600 1000000"))
    writer.register()
    start_stream(writer, stream)
    return writer


@pytest.fixture
def fresh(make_writer: Callable[..., Writer], target: Server) -> Writer:
    """A registered writer on an empty target."""
    writer = make_writer(target)
    writer.register()
    return writer


@pytest.fixture
def behind(writer: Writer) -> Feeding:
    """The stream of a writer that is behind; the target has expired nothing."""
    assert writer.flow.expiry.behind
    writer.flow.target.expired = COUNTED
    writer.flow.expiries.begin_snapshot()
    return Feeding(writer)

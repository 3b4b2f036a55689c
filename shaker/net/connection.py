"""One connection to a Redis or Valkey: opened, authenticated, read and written with a deadline on every wait."""

from __future__ import annotations

import errno
import math
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import anyio
from anyio.abc import ByteStream, SocketAttribute

from shaker.codec.resp.replies import encode
from shaker.codec.resp.reply_values import ReplyParser
from shaker.errors import CorruptError, LinkError
from shaker.model.refusals import refusal
from shaker.net.tls import READ_SIZE, start_tls
from shaker.settings.url import Address

WATCH_SECONDS: Final = 0.25


class ReplyError(Exception):
    """An error reply to a single request; its text is the server's line."""


class Connection:
    """A byte stream to a server, and single requests on it. `side` is `source` or `target`, for errors."""

    def __init__(self, stream: ByteStream, *, side: str, address: Address, timeout: float) -> None:
        self._stream = stream
        self._heard = not address.tls  # servers refuse a client's certificate after the handshake (RFC 8446, 4.4.2)
        self._side = side
        self.address = address
        self._timeout = timeout
        self._sending = anyio.Lock(fast_acquire=True)  # two tasks may acknowledge; a stream takes one at a time
        self._reader = ReplyParser(ReplyError)
        self._watched = False
        self._send_until = self._receive_until = math.inf  # monotonic; finite during a wait
        self._receive_limit = math.inf

    async def send(self, data: bytes) -> None:
        """Send bytes; raises LinkError when the server does not take them in time or is gone."""
        if self._watched:
            await self._send(data)
            return
        try:
            with anyio.fail_after(self._timeout):
                await self._send(data)
        except TimeoutError as error:
            raise self._not_taken() from error

    async def receive(self, *, timeout: float | None = None) -> bytes:
        """Return the next bytes; raises LinkError when none come in time or the server is gone."""
        limit = self._timeout if timeout is None else timeout
        if self._watched:
            return await self._receive(limit)
        try:
            with anyio.fail_after(limit):
                return await self._receive(limit)
        except TimeoutError as error:
            raise self._silent(limit) from error

    async def watch(self) -> None:
        """Raise LinkError once a `send` or `receive` has waited too long, up to WATCH_SECONDS late. Runs concurrently.

        Meanwhile they set no timers of their own: at thousands of reads a second, timers cost as much as the reads.
        """
        self._watched = True
        try:
            while True:
                await anyio.sleep(WATCH_SECONDS)
                now = time.monotonic()
                if now > self._send_until:
                    raise self._not_taken()
                if now > self._receive_until:
                    raise self._silent(self._receive_limit)
        finally:
            self._watched = False

    async def _send(self, data: bytes) -> None:
        async with self._sending:
            self._send_until = time.monotonic() + self._timeout
            try:
                await self._stream.send(data)
            except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError) as error:
                raise self._lost("closed the connection", "lost") from error
            finally:
                self._send_until = math.inf

    async def _receive(self, limit: float) -> bytes:
        self._receive_until = time.monotonic() + limit
        self._receive_limit = limit
        try:
            data = await self._stream.receive(READ_SIZE)
            self._heard = True
            return data
        except anyio.EndOfStream as error:
            raise self._lost("closed the connection", "lost") from error
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError) as error:
            raise self._lost("reset the connection", "lost") from error
        finally:
            self._receive_until = math.inf

    def no_replication(self, command: str) -> LinkError:
        """Return the error for a server that closed the connection when it was asked `command`."""
        return LinkError(
            f"the {self._side} {self.address.text} closed the connection at {command}, as a proxy does that cannot "
            "carry replication",
            hint=f"name the server behind the proxy in {self._side}.url (SHAKER_{self._side.upper()}__URL). Without a "
            "proxy, look into the server's log",
            kind="lost",
        )

    async def call(self, *arguments: bytes | str | int) -> Any:
        """Send one request and return its reply (bytes, int, None or lists of them).

        Raises ReplyError for an error reply, LinkError like `receive`. Not while a session owns the stream.
        """
        replies = await self.pipeline([arguments])
        if isinstance(replies[0], ReplyError):
            raise replies[0]
        return replies[0]

    async def pipeline(self, requests: Sequence[tuple[bytes | str | int, ...]]) -> list[Any]:
        """Send requests at once and return their replies; an error reply is a ReplyError in its place."""
        encoded = b"".join(encode(*arguments) for arguments in requests)
        return self.values(await self.exchange(encoded, len(requests)), 0, len(requests))

    async def exchange(self, requests: bytes, count: int) -> bytes:
        """Send `count` requests that are encoded, and return the replies as they came."""
        await self.send(requests)
        parts: list[bytes] = []
        while count:
            with self._as_redis():
                data, whole = self._reader.take(count)
            if whole:
                parts.append(data)
                count -= whole
            else:
                self._reader.feed(await self.receive())
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def values(self, data: bytes, position: int, count: int) -> list[Any]:
        """Return the values of `count` replies that `exchange` has given, from `position` on; raises LinkError."""
        with self._as_redis():
            return self._reader.values(data, position, count)

    @contextmanager
    def _as_redis(self) -> Iterator[None]:
        """Raise LinkError for replies that are none of a Redis."""
        try:
            yield
        except CorruptError as error:
            raise LinkError(
                f"the {self._side} {self.address.text} does not answer as a Redis does",
                hint=f"is {self._side}.url the address of a Redis or Valkey, with or without TLS as it says?",
                kind="protocol",
            ) from error

    @contextmanager
    def deadline(self, doing: str) -> Iterator[None]:
        """Bound the whole block: bytes that trickle in would keep each single wait alive."""
        try:
            with anyio.fail_after(self._timeout):
                yield
        except TimeoutError as error:
            raise self._lost(f"was not done with {doing} within {self._timeout:g} s", "timeout") from error

    async def authenticate(self, username: str | None, password: str | None) -> None:
        """Log in; without a password nothing is sent."""
        if password is None:
            return
        try:
            await self.call("AUTH", *([username] if username else []), password)
        except ReplyError as error:
            raise refusal(self._side, str(error), "authenticating") from error

    def _not_taken(self) -> LinkError:
        return self._lost(f"did not take data for {self._timeout:g} s", "timeout")

    def _silent(self, limit: float) -> LinkError:
        return self._lost(f"sent nothing for {limit:g} s", "timeout")

    def _lost(self, what: str, kind: str) -> LinkError:
        if kind == "lost" and not self._heard:
            return LinkError(
                f"the {self._side} {self.address.text} {what} right after the TLS handshake",
                hint=f"does it want a certificate? set {self._side}.tls.cert_file and {self._side}.tls.key_file",
                kind="tls",
            )
        return LinkError(f"the {self._side} {self.address.text} {what}", kind=kind)


@asynccontextmanager
async def connect(
    address: Address, *, side: str, tls: ssl.SSLContext | None, connect_timeout: float, timeout: float
) -> AsyncIterator[Connection]:
    """Open a connection and close it at the end; raises LinkError naming side, address and what failed.

    `connect_timeout` bounds opening with TLS, `timeout` every later wait, in seconds.
    """
    try:
        with anyio.fail_after(connect_timeout):
            stream = await _open(address, tls)
    except TimeoutError as error:
        # A server without TLS waits for the end of a line that a TLS client never sends.
        hint = f"does the server speak TLS on this port, as {side}.url says?" if tls is not None else ""
        raise LinkError(
            f"no connection to the {side} {address.text} within {connect_timeout:g} s", hint=hint, kind="connect"
        ) from error
    except ssl.SSLCertVerificationError as error:
        raise LinkError(
            f"the certificate of the {side} {address.text} is not accepted: {error.verify_message}",
            hint=_mend(error, side, address.host),
            kind="tls",
        ) from error
    except ssl.SSLError as error:
        raise LinkError(
            f"no TLS with the {side} {address.text}: {error.reason or 'the handshake failed'}",
            hint="does the server speak TLS on this port, and does it want a client certificate?",
            kind="tls",
        ) from error
    except (OSError, UnicodeError, OverflowError) as error:  # the latter two for a malformed host or port
        raise LinkError(
            f"no connection to the {side} {address.text}: {_reason(error)}",
            hint=f"is the server up, and is {side}.url right?",
            kind="connect",
        ) from error
    try:
        yield Connection(stream, side=side, address=address, timeout=timeout)
    finally:
        # Forcefully: a peer that does not answer must not hold up the closing of its own connection.
        with anyio.CancelScope(shield=True):
            await anyio.aclose_forcefully(stream)


async def _open(address: Address, tls: ssl.SSLContext | None) -> ByteStream:
    if address.path:
        return await anyio.connect_unix(address.path)
    stream = await anyio.connect_tcp(address.host, address.port)
    try:
        raw = stream.extra(SocketAttribute.raw_socket)
    except AttributeError as error:  # the peer has closed it already, and the library keeps no socket
        raise ConnectionResetError(errno.ECONNRESET, "closed at once") from error
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return stream if tls is None else await start_tls(stream, address.host, tls)


def _mend(error: ssl.SSLCertVerificationError, side: str, host: str) -> str:
    """Return what to do about a certificate that is not accepted (codes: OpenSSL, x509_vfy.h)."""
    if error.verify_code in (9, 10):  # not yet valid, expired
        return f"renew it on the server, and check the clocks; with {side}.tls.verify none out of its time is taken"
    if error.verify_code in (62, 63, 64):  # another host, e-mail, IP address
        return f"have it name {host}, or have {side}.url name a host that it names; {side}.tls.verify checks that"
    return f"set {side}.tls.ca_file to the authority that signed it"


def _reason(error: Exception) -> str:
    """Return what happened, without the library's own wording around it."""
    causes = (
        error.__cause__.exceptions if isinstance(error.__cause__, ExceptionGroup) else (error.__cause__ or error,)
    )
    first = causes[0]
    if isinstance(first, OSError) and first.errno is not None and first.errno > 0:
        return os.strerror(first.errno)
    return getattr(first, "strerror", None) or str(first) or type(first).__name__

"""TLS: contexts from the settings, made anew at each connect so that replaced files are taken up; a stream.

A record of TLS has at most 16 KiB (RFC 8446, 5.1). Handed on one at a time, what comes with each of them would cost
several times what decrypting it does: here a read gives all that has come.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

import anyio
from anyio.abc import ByteStream
from anyio.streams.tls import TLSAttribute, TLSStream

from shaker.endpoints import Endpoint
from shaker.errors import AccessError

# Bytes read of the connection at a time, plain or encrypted.
READ_SIZE: Final = 256 * 1024


def tls_context(endpoint: Endpoint) -> ssl.SSLContext | None:
    """Return the context for `endpoint`, None where its URL asks for no TLS.

    Raises AccessError naming the setting for files that cannot be read.
    """
    if not endpoint.address.tls:
        return None
    side = endpoint.side
    tls = endpoint.tls
    try:
        context = ssl.create_default_context(cafile=None if tls.ca_file is None else str(tls.ca_file))
    except (OSError, ssl.SSLError) as error:
        raise AccessError(f"{side}.tls.ca_file cannot be used: {error.strerror or error}") from error
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.cert_file is not None:
        try:
            context.load_cert_chain(tls.cert_file, tls.key_file)
        except (OSError, ssl.SSLError) as error:
            raise AccessError(
                f"{side}.tls.cert_file and {side}.tls.key_file cannot be used: {error.strerror or error}"
            ) from error
    return context


async def start_tls(stream: ByteStream, host: str, context: ssl.SSLContext) -> ByteStream:
    """Return the encrypted stream over `stream`, once the handshake is done; raises what `TLSStream.wrap` does."""
    try:
        # A server ends a connection without a word of TLS: that is no attack, and no error of its own.
        return Decrypted(
            await TLSStream.wrap(Whole(stream), hostname=host, ssl_context=context, standard_compatible=False)
        )
    except BaseException:
        with anyio.CancelScope(shield=True):
            await anyio.aclose_forcefully(stream)
        raise


class Whole(ByteStream):
    """A stream whose `receive` gives what has come, more than it is asked for: a caller asks for 64 KiB."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream

    async def receive(self, max_bytes: int = READ_SIZE) -> bytes:
        """Return up to READ_SIZE bytes."""
        return await self._stream.receive(max(max_bytes, READ_SIZE))

    async def send(self, item: bytes) -> None:
        """Send bytes."""
        await self._stream.send(item)

    async def send_eof(self) -> None:
        """Send the end."""
        await self._stream.send_eof()

    async def aclose(self) -> None:
        """Close the stream."""
        await self._stream.aclose()

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """Those of the stream."""
        return self._stream.extra_attributes


class Decrypted(Whole):
    """An encrypted stream whose `receive` gives all records that have come."""

    def __init__(self, stream: TLSStream) -> None:
        super().__init__(stream)
        self._records = stream.extra(TLSAttribute.ssl_object)

    async def receive(self, max_bytes: int = READ_SIZE) -> bytes:
        """Return up to `max_bytes` decrypted bytes."""
        data = await self._stream.receive(max_bytes)
        parts = [data]
        size = len(data)
        # Whatever is wrong behind these records, the next call meets it again.
        with suppress(ssl.SSLError):
            while data and size < max_bytes:
                data = self._records.read(max_bytes - size)
                parts.append(data)
                size += len(data)
        return b"".join(parts)

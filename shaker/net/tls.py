"""TLS: contexts made from the settings at each connect, so that rotated files take effect; a stream.

A record of TLS has at most 16 KiB (RFC 8446, 5.1). Passing records on one at a time would cost several times their
decryption, so a read returns all received records.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import anyio
from anyio.abc import ByteStream
from anyio.streams.tls import TLSAttribute, TLSStream

from shaker.errors import AccessError
from shaker.settings.endpoints import Endpoint
from shaker.settings.passwords import environment_name

# Bytes per read of the connection, plain or encrypted.
READ_SIZE: Final = 256 * 1024


def tls_context(endpoint: Endpoint) -> ssl.SSLContext | None:
    """Return the context for `endpoint`, None where its URL asks for no TLS.

    Raises AccessError naming the setting for files that cannot be read.
    """
    if not endpoint.address.tls:
        return None
    tls = endpoint.tls
    for name, path in (("ca_file", tls.ca_file), ("cert_file", tls.cert_file), ("key_file", tls.key_file)):
        if path is not None:
            _check_readable(f"{endpoint.side}.tls.{name}", path)
    try:
        context = ssl.create_default_context(cafile=None if tls.ca_file is None else str(tls.ca_file))
    except (OSError, ssl.SSLError) as error:
        raise AccessError(
            f"{_named(endpoint.side, 'ca_file')}: {tls.ca_file} holds no certificate: {_reason(error)}",
            hint="name a PEM file of the authorities that may sign the server's certificate",
        ) from error
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.cert_file is not None:
        try:
            # Without a password OpenSSL would ask for one at the terminal.
            context.load_cert_chain(tls.cert_file, tls.key_file, password=_refuse_password)
        except (OSError, ssl.SSLError, ValueError) as error:
            raise AccessError(
                f"{_named(endpoint.side, 'cert_file')}: {tls.cert_file} and {tls.key_file} cannot be used: "
                f"{_reason(error)}",
                hint="name PEM files of a certificate and of its own private key, which is not encrypted",
            ) from error
    return context


def _check_readable(setting: str, path: Path) -> None:
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise AccessError(
            f"{setting} ({environment_name(setting)}): {path} cannot be read: {error.strerror}",
            hint="name a file that this user may read",
        ) from error


def _named(side: str, name: str) -> str:
    setting = f"{side}.tls.{name}"
    return f"{setting} ({environment_name(setting)})"


def _refuse_password() -> str:
    raise ValueError("the private key is encrypted")


def _reason(error: Exception) -> str:
    """Return OpenSSL's reason in words; the library's own text begins with numbers and file names of its source."""
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    return getattr(error, "strerror", None) or str(error)


async def start_tls(stream: ByteStream, host: str, context: ssl.SSLContext) -> ByteStream:
    """Return the encrypted stream over `stream`, once the handshake is done; raises what `TLSStream.wrap` does."""
    try:
        # Servers close without TLS's close_notify: that is no attack, and no error of its own.
        return Decrypted(
            await TLSStream.wrap(Whole(stream), hostname=host, ssl_context=context, standard_compatible=False)
        )
    except BaseException:
        with anyio.CancelScope(shield=True):
            await anyio.aclose_forcefully(stream)
        raise


class Whole(ByteStream):
    """A stream whose `receive` returns up to READ_SIZE bytes, although TLSStream asks for 64 KiB."""

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
    """An encrypted stream whose `receive` returns all received records."""

    def __init__(self, stream: TLSStream) -> None:
        super().__init__(stream)
        self._records = stream.extra(TLSAttribute.ssl_object)

    async def receive(self, max_bytes: int = READ_SIZE) -> bytes:
        """Return up to `max_bytes` decrypted bytes."""
        data = await self._stream.receive(max_bytes)
        parts = [data]
        size = len(data)
        # The next call meets a fault after these records again.
        with suppress(ssl.SSLError):
            while data and size < max_bytes:
                data = self._records.read(max_bytes - size)
                parts.append(data)
                size += len(data)
        return b"".join(parts)

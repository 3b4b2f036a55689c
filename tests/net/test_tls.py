"""Encrypted connections: contexts from the settings, faults that name the setting, a stream of many records."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from shaker.codec.resp.replies import encode
from shaker.errors import AccessError, LinkError
from shaker.net.connection import connect
from shaker.net.tls import READ_SIZE, tls_context
from shaker.settings.url import parse_address
from tests.security.certificates import Authority, tls_server, tls_url
from tests.support.servers import Server
from tests.support.settings import settings

pytestmark = pytest.mark.anyio

RECORD = 16 * 1024  # bytes of one at most


def opening(url: str, *, timeout: float = 10.0, tls: ssl.SSLContext | None = None):
    """Open a connection to a target."""
    return connect(parse_address(url), side="target", tls=tls, connect_timeout=2.0, timeout=timeout)


async def test_an_encrypted_stream(tmp_path: Path) -> None:
    """A read gives the records that have come, not one at a time; at the end there is an error like any other."""
    authority = Authority(tmp_path / "authority")
    value = bytes(range(256)) * 40_000
    with tls_server(authority, authority.issue("server")) as server:
        server.client().set("big", value)
        context = ssl.create_default_context(cafile=str(authority.file))
        async with opening(tls_url(server), tls=context) as connection:
            await connection.send(encode("GET", "big") + encode("QUIT"))
            pieces: list[bytes] = []

            async def read() -> None:
                while True:
                    pieces.append(await connection.receive())

            with pytest.raises(LinkError, match="closed the connection"):
                await read()
    assert b"".join(pieces) == b"$%d\r\n%b\r\n+OK\r\n" % (len(value), value)
    assert len(pieces) < len(value) / RECORD / 2
    assert max(map(len, pieces)) <= READ_SIZE


async def test_a_server_without_tls(target: Server) -> None:
    """TLS to a server that does not speak it is distinguished from a network fault."""
    with pytest.raises(LinkError) as caught:
        async with opening(f"rediss://127.0.0.1:{target.port}", tls=ssl.create_default_context()):
            pass

    assert caught.value.kind in ("tls", "connect")
    assert "127.0.0.1" in caught.value.what


def test_a_url_without_tls_has_no_context() -> None:
    """The connection is plain then."""
    assert tls_context(settings().target) is None


def test_certificates_are_verified_unless_the_settings_say_otherwise() -> None:
    """Both host name and certificate, or neither."""
    strict = tls_context(settings(target__url="rediss://a").target)
    trusting = tls_context(settings(target__url="rediss://a", target__tls__verify="false").target)

    assert strict is not None
    assert trusting is not None
    assert (strict.check_hostname, strict.verify_mode) == (True, ssl.CERT_REQUIRED)
    assert (trusting.check_hostname, trusting.verify_mode) == (False, ssl.CERT_NONE)


def test_a_file_that_cannot_be_used_is_named_with_its_setting(tmp_path: Path) -> None:
    """Each file by its own name; none of its content is shown."""
    authority = Authority(tmp_path / "authority")
    certificate, key = authority.issue("client")
    other = authority.issue("other")[1]
    junk = tmp_path / "junk"
    junk.write_text("hunter2")
    cases = {
        "target.tls.ca_file (SHAKER_TARGET__TLS__CA_FILE)": [{"ca_file": tmp_path / "none"}, {"ca_file": junk}],
        "target.tls.cert_file (SHAKER_TARGET__TLS__CERT_FILE)": [
            {"cert_file": tmp_path / "none", "key_file": key},
            {"cert_file": certificate, "key_file": other},
            {"cert_file": certificate, "key_file": junk},
        ],
        "target.tls.key_file (SHAKER_TARGET__TLS__KEY_FILE)": [
            {"cert_file": certificate, "key_file": tmp_path / "none"}
        ],
    }
    for name, tries in cases.items():
        for files in tries:
            given = {f"target__tls__{file}": str(path) for file, path in files.items()}
            with pytest.raises(AccessError) as caught:
                tls_context(settings(target__url="rediss://a", **given).target)
            assert caught.value.what.startswith(name)
            assert "hunter2" not in str(caught.value)

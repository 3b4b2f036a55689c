"""Certificates for servers and workers of the tests, made by trustme."""

from __future__ import annotations

import datetime
from pathlib import Path

import trustme

from tests.support.servers import DEFAULT, Server, Setting, free_port


class Authority:
    """An authority, and the files of what it signed, in `directory`."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        self._directory = directory
        self._authority = trustme.CA()
        self.file = directory / "ca.pem"
        self._authority.cert_pem.write_to_path(self.file)

    def issue(self, name: str, *hosts: str, expired: bool = False) -> tuple[Path, Path]:
        """Write a certificate for `hosts`, by default 127.0.0.1, and its key; return both paths.

        A second call with one name replaces the files.
        """
        until = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=2) if expired else None
        issued = self._authority.issue_cert(*(hosts or ("127.0.0.1",)), not_after=until)
        certificate, key = self._directory / f"{name}.pem", self._directory / f"{name}.key"
        certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        key.write_bytes(issued.private_key_pem.bytes())
        return certificate, key


def tls_server(
    authority: Authority,
    certificate: tuple[Path, Path],
    name: str = DEFAULT,
    *,
    clients: str = "no",
    **settings: Setting,
) -> Server:
    """Return a server, not started, that speaks TLS at `tls-port` and plain at its port.

    `clients` is `yes` where clients must show a certificate of `authority`.
    """
    return Server(
        name,
        tls_port=free_port(),
        tls_cert_file=str(certificate[0]),
        tls_key_file=str(certificate[1]),
        tls_ca_cert_file=str(authority.file),
        tls_auth_clients=clients,
        **settings,
    )


def tls_url(server: Server) -> str:
    """Return the address of the server's encrypted port."""
    return f"rediss://127.0.0.1:{server.config['tls-port']}"


def show(server: Server, certificate: tuple[Path, Path], authority: Authority) -> None:
    """Let a running server show another certificate, and trust another authority, from its next connection on."""
    server.client().config_set(
        "tls-cert-file",
        str(certificate[0]),
        "tls-key-file",
        str(certificate[1]),
        "tls-ca-cert-file",
        str(authority.file),
    )

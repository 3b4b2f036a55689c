"""Files that settings name: one that cannot be used is a fault, at the start and by `config --check`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from tests.security.certificates import Authority

ROOT = Path(__file__).parents[2]
URLS = {"SHAKER_SOURCE__URL": "rediss://127.0.0.1:1", "SHAKER_TARGET__URL": "rediss://127.0.0.1:2"}
COMMANDS = pytest.mark.parametrize(
    "command", [["run", "--health.port=0"], ["config", "--check"]], ids=["run", "check"]
)


def shaker(command: list[str], **variables: object) -> subprocess.CompletedProcess[str]:
    """Run the program with only these settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SHAKER_")}
    return subprocess.run(
        [sys.executable, "-m", "shaker", *command],
        env=kept | URLS | {name: str(value) for name, value in variables.items()},
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


@COMMANDS
@pytest.mark.parametrize("side", ["source", "target"])
def test_missing_files_are_named_with_their_settings(command: list[str], side: str, tmp_path: Path) -> None:
    """Each file of a side that cannot be read is a line of its own, and the code is 2."""
    absent = tmp_path / "absent"
    upper = side.upper()
    done = shaker(
        command,
        **{
            f"SHAKER_{upper}__PASSWORD_FILE": absent,
            f"SHAKER_{upper}__SENTINEL__PASSWORD_FILE": absent,
            f"SHAKER_{upper}__TLS__CA_FILE": absent,
            "SHAKER_SPOOL__DIR": absent,
        },
    )

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        f"shaker: {side}.password_file (SHAKER_{upper}__PASSWORD_FILE): {absent} cannot be read: No such file or "
        "directory; name a file that the worker's user may read",
        f"shaker: {side}.sentinel.password_file (SHAKER_{upper}__SENTINEL__PASSWORD_FILE): {absent} cannot be read: No "
        "such file or directory; name a file that the worker's user may read",
        f"shaker: {side}.tls.ca_file (SHAKER_{upper}__TLS__CA_FILE): {absent} cannot be read: No such file or "
        "directory; name a file that this user may read",
        f"shaker: spool.dir (SHAKER_SPOOL__DIR): {absent} is not a directory; name one that this user may use",
    ]


@pytest.mark.parametrize("name", ["cert_file", "key_file"])
def test_a_certificate_or_key_that_is_missing(name: str, tmp_path: Path) -> None:
    certificate, key = Authority(tmp_path).issue("worker")
    (certificate if name == "cert_file" else key).unlink()
    done = shaker(
        ["config", "--check"], SHAKER_SOURCE__TLS__CERT_FILE=certificate, SHAKER_SOURCE__TLS__KEY_FILE=key
    )

    assert done.returncode == 2
    assert done.stderr.startswith(
        f"shaker: source.tls.{name} (SHAKER_SOURCE__TLS__{name.upper()}): {tmp_path}/worker."
    )
    assert len(done.stderr.splitlines()) == 1


def test_a_directory_and_a_file_without_a_certificate(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("no certificate")
    done = shaker(["config", "--check"], SHAKER_SOURCE__TLS__CA_FILE=text, SHAKER_TARGET__TLS__CA_FILE=tmp_path)

    assert done.returncode == 2
    first, second = done.stderr.splitlines()
    assert first == (
        f"shaker: source.tls.ca_file (SHAKER_SOURCE__TLS__CA_FILE): {text} holds no certificate: no certificate or crl "
        "found; name a PEM file of the authorities that may sign the server's certificate"
    )
    assert f"{tmp_path} cannot be read: Is a directory" in second


def test_a_key_of_another_certificate(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, other = authority.issue("worker")[0], authority.issue("other")[1]
    done = shaker(
        ["config", "--check"], SHAKER_SOURCE__TLS__CERT_FILE=certificate, SHAKER_SOURCE__TLS__KEY_FILE=other
    )

    assert done.returncode == 2
    assert f"{certificate} and {other} cannot be used: key values mismatch; name PEM files" in done.stderr


def test_an_encrypted_key_asks_for_nothing(tmp_path: Path) -> None:
    """OpenSSL would ask for the password at the terminal, and a worker would wait there."""
    certificate, key = Authority(tmp_path).issue("worker")
    private = serialization.load_pem_private_key(key.read_bytes(), None)
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"hunter2"),
        )
    )
    done = shaker(
        ["config", "--check"], SHAKER_SOURCE__TLS__CERT_FILE=certificate, SHAKER_SOURCE__TLS__KEY_FILE=key
    )

    assert done.returncode == 2
    assert "cannot be used: the private key is encrypted; name PEM files" in done.stderr


def test_files_that_can_be_used_are_no_fault(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("worker")
    password = tmp_path / "password"
    password.write_text("hunter2\n")
    done = shaker(
        ["config", "--check"],
        SHAKER_SOURCE__PASSWORD_FILE=password,
        SHAKER_SOURCE__TLS__CA_FILE=authority.file,
        SHAKER_SOURCE__TLS__CERT_FILE=certificate,
        SHAKER_SOURCE__TLS__KEY_FILE=key,
        SHAKER_SPOOL__DIR=tmp_path,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "settings are valid\n", "")

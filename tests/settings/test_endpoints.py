"""Settings of source and target: TLS files, credentials, shares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shaker.settings.endpoints import Source
from tests.support.settings import faults, settings


@pytest.mark.parametrize("name", ["ca_file", "cert_file", "key_file"])
def test_tls_files_without_tls_are_refused(name: str) -> None:
    other = {"cert_file": "key_file", "key_file": "cert_file"}.get(name)
    given = {f"target__tls__{each}": "/x" for each in (name, other) if each}

    assert "the URL is not encrypted" in faults(**given)[0]


@pytest.mark.parametrize(("one", "other"), [("cert_file", "key_file"), ("key_file", "cert_file")])
def test_a_client_certificate_is_two_files(one: str, other: str) -> None:
    found = faults(source__url="rediss://a", **{f"source__tls__{one}": "/x"})

    assert f"source.tls.{one} (" in found[0]
    assert f"is set without {other}" in found[0]
    both = settings(source__url="rediss://a", source__tls__cert_file="/x", source__tls__key_file="/y")
    assert both.source.tls.cert_file == Path("/x")


@pytest.mark.parametrize(
    ("given", "credentials"),
    [
        ({}, (None, None)),
        ({"source__url": "redis://u:p%25w@h"}, ("u", "p%w")),
        ({"source__url": "redis://u:p@h", "source__password": "other"}, ("u", "other")),
        ({"source__url": "redis://u:p@h", "source__username": "v"}, ("v", "p")),
        ({"source__password": ""}, (None, None)),
        ({"source__password": "$HOME %41 ${SHAKER_NAME} \\n"}, (None, "$HOME %41 ${SHAKER_NAME} \\n")),
    ],
)
def test_credentials_come_from_url_or_settings_and_nothing_is_expanded(
    given: dict[str, str], credentials: tuple[str | None, str | None]
) -> None:
    assert credentials == settings(**given).source.credentials()


def test_a_password_is_given_once() -> None:
    assert "source.password_file (" in faults(source__password="hunter2", source__password_file="/x")[0]
    assert "hunter2" not in faults(source__password="hunter2", source__password_file="/x")[0]


def test_an_endpoint_can_be_made_in_code() -> None:
    assert Source.model_validate({"url": "redis://a:1"}).address.text == "a:1"


@pytest.mark.parametrize(
    ("given", "share"),
    [("30%", 0.3), (" 5 %", 0.05), ("0.25", 0.25), (0.5, 0.5), ("100%", 1.0), (1, 1.0), (0, 0.0)],
)
def test_shares(given: Any, share: float) -> None:
    """As percent or as a number up to 1."""
    assert settings(target__max_deletions=given).target.max_deletions == share


@pytest.mark.parametrize("given", ["30", "101%", "-1%", "x%", "%", True])
def test_shares_that_are_none(given: Any) -> None:
    """A bare 30 could be either; nothing is above all."""
    assert "target.max_deletions" in faults(target__max_deletions=given)[0]

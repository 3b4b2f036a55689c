"""Usernames and passwords are read at each connect; a file that is missing then is an error of access."""

from __future__ import annotations

from pathlib import Path

import pytest

from shaker.errors import AccessError
from shaker.net.credentials import credentials, sentinel_credentials
from tests.support.settings import settings


def test_a_rotated_password_is_used_at_the_next_connect(tmp_path: Path) -> None:
    """For the servers and for their Sentinels."""
    path = tmp_path / "password"
    path.write_text("old")
    target = settings(
        target__username="writer", target__password_file=str(path), target__sentinel__password_file=str(path)
    ).target
    assert (credentials(target), sentinel_credentials(target)) == (("writer", "old"), (None, "old"))
    path.write_text("new")

    assert (credentials(target), sentinel_credentials(target)) == (("writer", "new"), (None, "new"))


def test_a_password_file_that_is_gone_is_waited_for(tmp_path: Path) -> None:
    """Unlike at the start it is an error that can be retried: secrets are mounted late."""
    path = str(tmp_path / "none")
    target = settings(target__password_file=path, target__sentinel__password_file=path).target
    with pytest.raises(AccessError, match=r"target\.password_file") as caught:
        credentials(target)
    assert caught.value.retry
    with pytest.raises(AccessError, match=r"target\.sentinel\.password_file"):
        sentinel_credentials(target)

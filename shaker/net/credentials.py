"""Usernames and passwords, read again at each connect so that a rotated password file is taken up."""

from __future__ import annotations

from shaker.errors import AccessError, SettingsError
from shaker.settings.endpoints import Endpoint


def credentials(endpoint: Endpoint) -> tuple[str | None, str | None]:
    """Return username and password for the server; raises AccessError for a password file that cannot be read."""
    try:
        return endpoint.credentials()
    except SettingsError as error:
        raise AccessError(error.what, hint=error.hint) from error


def sentinel_credentials(endpoint: Endpoint) -> tuple[str | None, str | None]:
    """Return username and password for the Sentinels; raises AccessError for a file that cannot be read."""
    try:
        return endpoint.sentinel_credentials()
    except SettingsError as error:
        raise AccessError(error.what, hint=error.hint) from error

"""Passwords of the settings, read at each use, and the environment variables of settings."""

from __future__ import annotations

from pathlib import Path

from pydantic import SecretStr

from shaker.errors import SettingsError
from shaker.settings.secrets import hide

ENVIRONMENT_PREFIX = "SHAKER_"
NESTED_DELIMITER = "__"


def environment_name(setting: str) -> str:
    """Return the environment variable of a dotted `setting`: `source.url` is `SHAKER_SOURCE__URL`."""
    return ENVIRONMENT_PREFIX + setting.replace(".", NESTED_DELIMITER).upper()


def password_of(section: str, password: SecretStr | None, path: Path | None) -> str | None:
    """Return the password of a section, from its file if one is set; None for no password.

    Raises SettingsError, naming the setting, if the file cannot be read.
    """
    if path is None:
        text = None if password is None else password.get_secret_value() or None
    else:
        text = _read(f"{section}.password_file", path)
    # The log masks every password ever used, rotated ones included.
    hide(text or "")
    return text


def _read(setting: str, path: Path) -> str:
    name = f"{setting} ({environment_name(setting)})"
    try:
        content = path.read_bytes()
    except OSError as error:
        hint = "name a file that the worker's user may read"
        raise SettingsError(f"{name}: {path} cannot be read: {error.strerror}", hint=hint) from None
    content = content.removesuffix(b"\n").removesuffix(b"\r")
    if not content:
        raise SettingsError(f"{name}: {path} is empty", hint="write the password to it")
    return content.decode("utf-8", "surrogateescape")

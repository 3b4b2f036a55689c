"""Settings of source and target, and the types that all settings share."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from shaker.bytesize import parse_size
from shaker.settings.passwords import password_of
from shaker.settings.secrets import hide
from shaker.settings.url import Address, parse_address

MIB = 1024 * 1024
GIB = 1024 * MIB


def as_size(value: Any) -> Any:
    """Return the bytes of a size given as text; any other value unchanged."""
    return parse_size(value) if isinstance(value, str) else value


def _share(value: Any) -> Any:
    """Return the number of a share given as `30%`; any other value unchanged."""
    if isinstance(value, str) and value.strip().endswith("%"):
        try:
            return float(value.strip()[:-1]) / 100
        except ValueError:
            return value
    return value


def _no_bool(value: Any) -> Any:
    # Pydantic takes a TOML `port = true` as 1.
    if isinstance(value, bool):
        raise ValueError("must be a number")  # noqa: TRY004 - pydantic collects ValueError, not TypeError
    return value


Number = BeforeValidator(_no_bool)
Bytes = Annotated[int, BeforeValidator(as_size), Number]
Whole = Annotated[int, Number]
Share = Annotated[float, BeforeValidator(_share), Number, Field(allow_inf_nan=False, ge=0, le=1)]
Seconds = Annotated[float, Number, Field(allow_inf_nan=False)]


class Section(BaseModel):
    """A group of settings: rejects unknown names, is immutable, and shows no input in its faults."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Tls(Section):
    """TLS of one side's connections, for `rediss://`."""

    ca_file: Path | None = Field(
        default=None,
        description="PEM file of the certificate authorities for the server's certificate; none: the system's",
    )
    cert_file: Path | None = Field(
        default=None, description="PEM file of the client certificate; requires key_file"
    )
    key_file: Path | None = Field(
        default=None, description="PEM file of the client's private key; requires cert_file"
    )
    verify: bool = Field(default=True, description="verify the server's certificate and host name: true or false")

    @field_validator("key_file")
    @classmethod
    def _both_or_none(cls, key_file: Path | None, info: ValidationInfo) -> Path | None:
        if key_file is not None and info.data.get("cert_file") is None:
            raise ValueError("is set without cert_file: set both or neither")
        return key_file


class Sentinel(Section):
    """Credentials for the Sentinels of a `redis+sentinel://` URL; the URL's own are for the servers."""

    username: str | None = Field(default=None, description="ACL user for the Sentinels; none: the default user")
    password: SecretStr | None = Field(default=None, description="password of that user; none: no authentication")
    password_file: Path | None = Field(
        default=None, description="file with that password, read again at each query of the Sentinels"
    )

    @field_validator("password_file")
    @classmethod
    def _one_password(cls, password_file: Path | None, info: ValidationInfo) -> Path | None:
        return _not_both(password_file, info)


def _not_both(password_file: Path | None, info: ValidationInfo) -> Path | None:
    if password_file is not None and info.data.get("password") is not None:
        raise ValueError("is set together with password: set only one of them")
    return password_file


class Endpoint(Section):
    """Settings that both sides have: address, credentials, timeouts."""

    side: ClassVar[str] = "endpoint"

    url: SecretStr
    username: str | None = Field(default=None, description="ACL user; none: the URL's, or the default user")
    password: SecretStr | None = Field(
        default=None,
        description="password, taken literally: nothing in it is expanded or decoded; "
        "takes precedence over one in the URL",
    )
    password_file: Path | None = Field(
        default=None,
        description="file with the password, read again at each connect; one trailing newline is removed",
    )
    sentinel: Sentinel = Sentinel()
    tls: Tls = Tls()
    connect_timeout_seconds: Seconds = Field(
        default=5.0,
        ge=0.1,
        le=300,
        description="seconds within which a connection must be established and accepted",
    )
    timeout_seconds: Seconds = Field(
        default=60.0, ge=1, le=3600, description="seconds of silence after which a connection is considered lost"
    )

    @field_validator("url")
    @classmethod
    def _url(cls, url: SecretStr) -> SecretStr:
        parse_address(url.get_secret_value())
        return url

    @field_validator("password_file")
    @classmethod
    def _one_password(cls, password_file: Path | None, info: ValidationInfo) -> Path | None:
        return _not_both(password_file, info)

    @field_validator("tls")
    @classmethod
    def _only_with_tls(cls, tls: Tls, info: ValidationInfo) -> Tls:
        url = info.data.get("url")
        if url is None or parse_address(url.get_secret_value()).tls:
            if tls.cert_file is not None and tls.key_file is None:
                raise fault(f"{cls.side}.tls.cert_file", "is set without key_file: set both or neither")
            return tls
        # Silently ignoring a certificate authority would leave the connection unprotected.
        for name in tls.model_fields_set:
            if getattr(tls, name) is not None and name != "verify":
                raise fault(f"{cls.side}.tls.{name}", "is set, but the URL is not encrypted: use rediss://")
        return tls

    @cached_property
    def address(self) -> Address:
        """The address of this side; its `text` may be logged."""
        return parse_address(self.url.get_secret_value())

    @property
    def acl_user(self) -> str:
        """The name of the ACL user that connects."""
        return self.username or self.address.username or "default"

    def credentials(self) -> tuple[str | None, str | None]:
        """Return the current (username, password); None for a missing one.

        Each call reads the password file, so the next connect uses a rotated password. Bytes that are not UTF-8
        become surrogate escapes. Raises SettingsError, naming the setting, if the file cannot be read.
        """
        password = password_of(self.side, self.password, self.password_file) or self.address.password
        hide(password or "")
        return self.username or self.address.username, password

    def sentinel_credentials(self) -> tuple[str | None, str | None]:
        """Return the current (username, password) for the Sentinels, like `credentials`."""
        sentinel = self.sentinel
        return sentinel.username, password_of(f"{self.side}.sentinel", sentinel.password, sentinel.password_file)


class Source(Endpoint):
    """The Redis to replicate from."""

    side = "source"

    url: SecretStr = Field(
        description="address of the Redis to replicate from, such as redis://127.0.0.1:6379, rediss://… or unix:///…"
    )
    psync_command: str = Field(
        default="PSYNC",
        pattern=r"^[A-Za-z0-9_.:@-]{1,128}$",
        description="name of the command PSYNC where a managed service gives it another one",
    )


class Target(Endpoint):
    """The Redis to replicate to."""

    side = "target"

    url: SecretStr = Field(
        description="address of the Redis to replicate to, such as redis://127.0.0.1:6380, rediss://… or unix:///…"
    )
    on_existing: Literal["refuse", "merge", "flush"] = Field(
        default="refuse", description="action for a target that holds keys and no checkpoint of this name"
    )
    adopt: bool = Field(
        default=False, description="resume from a checkpoint written for another source: true or false"
    )
    allow_eviction: bool = Field(
        default=False,
        description="accept a target whose maxmemory-policy may evict any key, even the checkpoint: true or false",
    )
    stale_keys: Literal["sweep", "flush", "keep"] = Field(
        default="sweep",
        description="action after a full resync for keys that the source no longer has; keep with on_existing=merge",
    )
    max_deletions: Share = Field(
        default=0.3,
        description="maximum share of the target's keys, such as 30% or 0.3, that a full resync removes without an "
        "operator's consent; 100%: no maximum",
    )
    restore_limit: Bytes = Field(
        default=32 * MIB,
        ge=MIB,
        le=1024 * GIB,
        description="maximum size of a value that the target gets in one RESTORE, 2 MiB at most for one that is "
        "neither a string nor a list; a larger one is built by small commands under a temporary key",
    )
    on_unsupported: Literal["refuse", "skip"] = Field(
        default="refuse",
        description="action for data that the target's version cannot hold, such as hash fields that expire: end with "
        "code 4, or leave it out and count it",
    )
    on_error: Literal["continue", "stop"] = Field(
        default="continue", description="action when the target rejects a command as such; both record it"
    )

    @model_validator(mode="before")
    @classmethod
    def _merge_implies_keep(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("on_existing") == "merge":
            return {"stale_keys": "keep", **values}
        return values

    @field_validator("stale_keys")
    @classmethod
    def _merged_keys_are_kept(cls, stale_keys: str, info: ValidationInfo) -> str:
        if info.data.get("on_existing") == "merge" and stale_keys != "keep":
            raise ValueError("would delete the keys that on_existing=merge keeps: set it to keep or omit it")
        return stale_keys


def fault(setting: str, what: str) -> PydanticCustomError:
    """Return a validation error for a setting other than the one being validated."""
    return PydanticCustomError("setting", "{what}", {"what": what, "setting": setting})

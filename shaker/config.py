"""The settings: one nested model, its bounds, and the checks between settings. `shaker.layers.load` fills it.

Nothing here resolves a name, opens a connection or reads a file when settings are loaded.
"""

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
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from shaker.address import Address, parse_address
from shaker.bytesize import parse_size
from shaker.passwords import password_of
from shaker.watch.log import hide

MIB = 1024 * 1024
GIB = 1024 * MIB


def _size(value: Any) -> Any:
    return parse_size(value) if isinstance(value, str) else value


def _no_bool(value: Any) -> Any:
    # A TOML `port = true` would otherwise be taken as 1.
    if isinstance(value, bool):
        raise ValueError("must be a number")  # noqa: TRY004 - pydantic collects ValueError, not TypeError
    return value


Number = BeforeValidator(_no_bool)
Bytes = Annotated[int, BeforeValidator(_size), Number]
Whole = Annotated[int, Number]
Seconds = Annotated[float, Number, Field(allow_inf_nan=False)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class Section(BaseModel):
    """A group of settings: unknown names are faults, nothing changes after loading, no fault shows its input."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Tls(Section):
    """Encryption of one side's connections, for `rediss://`."""

    ca_file: Path | None = Field(
        default=None,
        description="PEM file of the authorities that may sign the server's certificate; none: the system's",
    )
    cert_file: Path | None = Field(
        default=None, description="PEM file of the client's certificate, together with key_file"
    )
    key_file: Path | None = Field(
        default=None, description="PEM file of the client's private key, together with cert_file"
    )
    verify: bool = Field(default=True, description="check the server's certificate and host name: true or false")

    @field_validator("key_file")
    @classmethod
    def _both_or_none(cls, key_file: Path | None, info: ValidationInfo) -> Path | None:
        if key_file is not None and info.data.get("cert_file") is None:
            raise ValueError("is set without cert_file: set both or none")
        return key_file


class Sentinel(Section):
    """Who the worker is to the Sentinels of a `redis+sentinel://` URL; the URL's user is one of the servers."""

    username: str | None = Field(default=None, description="ACL user on the Sentinels; none: the default user")
    password: SecretStr | None = Field(default=None, description="password of that user; none: no login")
    password_file: Path | None = Field(
        default=None, description="file that holds that password, read again whenever the Sentinels are asked"
    )

    @field_validator("password_file")
    @classmethod
    def _onepassword_of(cls, password_file: Path | None, info: ValidationInfo) -> Path | None:
        return _not_both(password_file, info)


def _not_both(password_file: Path | None, info: ValidationInfo) -> Path | None:
    if password_file is not None and info.data.get("password") is not None:
        raise ValueError("is set together with password: set one of them")
    return password_file


class Endpoint(Section):
    """What both sides have: where they are, who connects, and how long anything may take."""

    side: ClassVar[str] = "endpoint"

    url: SecretStr
    username: str | None = Field(default=None, description="ACL user; none: that of the URL, else the default user")
    password: SecretStr | None = Field(
        default=None, description="taken as it is, nothing in it is expanded or decoded; goes before one in the URL"
    )
    password_file: Path | None = Field(
        default=None,
        description="file that holds the password, read again at each connect; one trailing newline is cut off",
    )
    sentinel: Sentinel = Sentinel()
    tls: Tls = Tls()
    connect_timeout_seconds: Seconds = Field(
        default=5.0, ge=0.1, le=300, description="seconds within which a connection must be made and accepted"
    )
    timeout_seconds: Seconds = Field(
        default=60.0, ge=1, le=3600, description="seconds of silence after which a connection counts as lost"
    )

    @field_validator("url")
    @classmethod
    def _url(cls, url: SecretStr) -> SecretStr:
        parse_address(url.get_secret_value())
        return url

    @field_validator("password_file")
    @classmethod
    def _onepassword_of(cls, password_file: Path | None, info: ValidationInfo) -> Path | None:
        return _not_both(password_file, info)

    @field_validator("tls")
    @classmethod
    def _only_with_tls(cls, tls: Tls, info: ValidationInfo) -> Tls:
        url = info.data.get("url")
        if url is None or parse_address(url.get_secret_value()).tls:
            if tls.cert_file is not None and tls.key_file is None:
                raise fault(f"{cls.side}.tls.cert_file", "is set without key_file: set both or none")
            return tls
        # A certificate authority that is named and not used would leave a connection open to all in silence.
        for name in tls.model_fields_set:
            if getattr(tls, name) is not None and name != "verify":
                raise fault(f"{cls.side}.tls.{name}", "is set, but the URL is not encrypted: make it rediss://")
        return tls

    @cached_property
    def address(self) -> Address:
        """Where this side is; its `text` may be logged."""
        return parse_address(self.url.get_secret_value())

    def credentials(self) -> tuple[str | None, str | None]:
        """Return (username, password) as they are now; None where there is none.

        The password file is read at each call, so that a rotated password is used at the next connect. Bytes of
        it that are not UTF-8 come as surrogate escapes. Raises SettingsError naming the setting where the file
        cannot be read.
        """
        password = password_of(self.side, self.password, self.password_file) or self.address.password
        hide(password or "")
        return self.username or self.address.username, password

    def sentinel_credentials(self) -> tuple[str | None, str | None]:
        """Return (username, password) for the Sentinels as they are now, like `credentials`."""
        sentinel = self.sentinel
        return sentinel.username, password_of(f"{self.side}.sentinel", sentinel.password, sentinel.password_file)


class Source(Endpoint):
    """The Redis that is replicated from."""

    side = "source"

    url: SecretStr = Field(
        description="address of the Redis to replicate from, such as redis://127.0.0.1:6379, rediss://… or unix:///…"
    )


class Target(Endpoint):
    """The Redis that is replicated to."""

    side = "target"

    url: SecretStr = Field(
        description="address of the Redis to replicate to, such as redis://127.0.0.1:6380, rediss://… or unix:///…"
    )
    on_existing: Literal["refuse", "merge", "flush"] = Field(
        default="refuse", description="what to do with a target that holds keys and no checkpoint of this name"
    )
    adopt: bool = Field(
        default=False, description="go on from a checkpoint that another source wrote: true or false"
    )
    allow_eviction: bool = Field(
        default=False,
        description="accept a target whose maxmemory-policy may evict any key, the checkpoint too: true or false",
    )
    stale_keys: Literal["sweep", "flush", "keep"] = Field(
        default="sweep",
        description="what to do after a full resync with keys that the source no longer has; keep where merged",
    )
    on_error: Literal["continue", "stop"] = Field(
        default="continue", description="what to do when the target rejects a command in itself; both record it"
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
            raise ValueError("would delete the keys that on_existing=merge keeps: set it to keep or leave it out")
        return stale_keys


class Expiry(Section):
    """How expiries are held back, so that no key dies on the target while its renewal is still on the way."""

    margin_seconds: Seconds = Field(
        default=2.0,
        ge=0,
        le=3600,
        description="seconds that expiries lie later on the target than on the source; 0: none, and keys that are "
        "renewed in their last moment can be lost",
    )
    hold_seconds: Seconds = Field(
        default=86400.0,
        ge=60,
        le=31536000,
        description="seconds from now to which an expiry that is near is put off while the stream is behind",
    )
    hold_below_seconds: Seconds = Field(
        default=1.0,
        ge=0,
        le=86400,
        description="seconds that the stream may be behind before expiries are put off",
    )
    max_clock_skew_seconds: Seconds = Field(
        default=5.0, ge=0, le=3600, description="seconds by which the clocks of source and target may differ"
    )


class Spool(Section):
    """A disk buffer for the stream while the target is behind."""

    dir: Path | None = Field(default=None, description="directory of the spool; none: no spool")
    limit: Bytes = Field(
        default=10 * GIB, ge=MIB, le=1024 * 1024 * GIB, description="bytes that the spool may take"
    )


class Snapshot(Section):
    """The full copy that a replication begins with."""

    max_value: Bytes = Field(
        default=256 * MIB,
        ge=MIB,
        le=1024 * GIB,
        description="bytes of the largest value held whole; a larger one is refused by name",
    )


class Retry(Section):
    """How long to wait before trying again."""

    initial_seconds: Seconds = Field(
        default=0.1, ge=0.01, le=60, description="seconds before the first new try of a link"
    )
    max_seconds: Seconds = Field(
        default=5.0, ge=0.1, le=600, description="seconds that the doubling wait between tries grows to"
    )
    access_seconds: Seconds = Field(
        default=30.0,
        ge=1,
        le=3600,
        description="seconds between tries with credentials that the server did not accept",
    )

    @field_validator("max_seconds")
    @classmethod
    def _not_below_initial(cls, max_seconds: float, info: ValidationInfo) -> float:
        if max_seconds < info.data.get("initial_seconds", 0.0):
            raise ValueError("is below retry.initial_seconds: raise it or lower the other")
        return max_seconds


class Health(Section):
    """The HTTP server for probes, metrics and people."""

    host: str = Field(default="0.0.0.0", min_length=1, description="address to listen at")  # noqa: S104 - probes come from outside
    port: Whole = Field(
        default=8080, ge=0, le=65535, description="TCP port to listen at; 0 picks a free one and logs it"
    )
    ready_max_lag_seconds: Seconds = Field(
        default=30.0, gt=0, le=604800, description="seconds of lag above which the worker is not ready"
    )


class Log(Section):
    """What is written to standard output."""

    format: Literal["auto", "json", "console"] = Field(
        default="auto",
        description="json, one object a line; console, for people; auto: console on a terminal, else json",
    )
    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="least level that is written"
    )


class Settings(BaseSettings):
    """All settings of one worker. Loaded by `shaker.layers.load`, which also knows where each came from."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: Name = Field(
        default="default",
        description="names the checkpoint: 1 to 64 letters, digits, '.', '_' or '-'; workers of one name are one",
    )
    mode: Literal["follow", "migrate", "snapshot"] = Field(
        default="follow",
        description="follow until stopped; or migrate: snapshot, catch up, settle, end; or the snapshot alone",
    )
    fenced_action: Literal["exit", "wait"] = Field(
        default="exit", description="what a worker does once a newer one of its name took over"
    )
    drain_timeout_seconds: Seconds = Field(
        default=20.0,
        ge=0,
        le=3600,
        description="seconds that a stopped worker takes at most to commit what it has read",
    )
    memory_limit: Bytes = Field(
        default=64 * MIB, ge=MIB, le=1024 * GIB, description="bytes that the worker holds between source and target"
    )
    source: Source
    target: Target
    expiry: Expiry = Expiry()
    spool: Spool = Spool()
    snapshot: Snapshot = Snapshot()
    retry: Retry = Retry()
    health: Health = Health()
    log: Log = Log()

    @field_validator("target")
    @classmethod
    def _not_itself(cls, target: Target, info: ValidationInfo) -> Target:
        source = info.data.get("source")
        if source is not None and target.address.is_same_server(source.address):
            raise fault("target.url", "names the same server as source.url: name another one")
        return target

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what `load` merged and nothing else: only so is the origin of each setting known."""
        return (init_settings,)


def fault(setting: str, what: str) -> PydanticCustomError:
    """Return an error of validation that names another setting than the one being validated."""
    return PydanticCustomError("setting", "{what}", {"what": what, "setting": setting})

"""The settings: one nested model, its bounds, and the checks between settings. `shaker.settings.sources.load` fills it.

Nothing here resolves a name, opens a connection or reads a file when settings are loaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from shaker.settings.endpoints import GIB, MIB, Bytes, Seconds, Section, Source, Target, Whole, fault

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


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


class SpoolSettings(Section):
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
    stuck_seconds: Seconds = Field(
        default=30.0,
        ge=0.1,
        le=600,
        description="seconds that this wait grows to where a connected link fails at the same place repeatedly",
    )
    access_seconds: Seconds = Field(
        default=30.0,
        ge=1,
        le=3600,
        description="seconds between tries with credentials that the server did not accept",
    )
    full_sync_seconds: Seconds = Field(
        default=60.0,
        ge=0,
        le=86400,
        description="minimum seconds between the beginnings of two full syncs of one worker process",
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
    """All settings of one worker. Loaded by `shaker.settings.sources.load`, which also knows where each came from."""

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
    give_up_after_seconds: Seconds = Field(
        default=300.0,
        ge=0,
        le=86400,
        description="seconds without progress after which migrate and snapshot end with code 75; follow never does",
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
    spool: SpoolSettings = SpoolSettings()
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

"""The model of the settings: defaults, bounds, and checks between settings; filled by `shaker.settings.sources.load`.

Loading resolves no name, opens no connection and reads no file named by a setting.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from shaker.settings.endpoints import GIB, MIB, Bytes, Number, Seconds, Section, Source, Target, Whole, fault

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class Expiry(Section):
    """Deferred expiries: no key expires on the target while its renewal is still in the stream."""

    margin_seconds: Seconds = Field(
        default=2.0,
        ge=0,
        le=3600,
        description="seconds by which keys expire later on the target than on the source; with 0, keys that are "
        "renewed just before they expire can be lost",
    )
    hold_seconds: Seconds = Field(
        default=86400.0,
        ge=60,
        le=31536000,
        description="seconds by which near expiries are deferred while the stream is behind",
    )
    hold_below_seconds: Seconds = Field(
        default=1.0,
        ge=0,
        le=86400,
        description="seconds that the stream may be behind before expiries are deferred",
    )
    max_clock_skew_seconds: Seconds = Field(
        default=5.0,
        ge=0,
        le=3600,
        description="maximum difference between the clocks of source and target, in seconds",
    )


class SpoolSettings(Section):
    """Disk buffer for the stream while the target is behind."""

    dir: Path | None = Field(default=None, description="directory of the spool; none: no spool")
    limit: Bytes = Field(default=10 * GIB, ge=MIB, le=1024 * 1024 * GIB, description="maximum size of the spool")


class Snapshot(Section):
    """The initial full copy."""

    max_value: Bytes = Field(
        default=256 * MIB,
        ge=MIB,
        le=1024 * GIB,
        description="maximum size of a value, or of one element, held in memory; larger strings and collections "
        "pass in chunks",
    )


class Preflight(Section):
    """The checks of `shaker preflight`, which also precede the first write of `shaker run`."""

    skip_checks: str | None = Field(default=None, description="names of checks to leave out, separated by commas")
    only_checks: str | None = Field(
        default=None, description="names of the only checks to make, separated by commas; none: all"
    )
    measure_seconds: Seconds = Field(
        default=3.0,
        ge=0,
        le=600,
        description="seconds for which the source's write rate is measured; 0: no check that needs a measurement "
        "before a new replication",
    )


class Retry(Section):
    """Delays before retries."""

    initial_seconds: Seconds = Field(
        default=0.1, ge=0.01, le=60, description="seconds before the first retry of a link"
    )
    max_seconds: Seconds = Field(
        default=5.0,
        ge=0.1,
        le=600,
        description="maximum seconds between retries; the delay doubles from retry to retry",
    )
    stuck_seconds: Seconds = Field(
        default=30.0,
        ge=0.1,
        le=600,
        description="maximum seconds between retries of a link that connects and fails repeatedly at the same position",
    )
    access_seconds: Seconds = Field(
        default=30.0,
        ge=1,
        le=3600,
        description="seconds between retries with credentials that the server rejected",
    )
    full_sync_seconds: Seconds = Field(
        default=60.0,
        ge=0,
        le=86400,
        description="minimum seconds between the starts of two full syncs of one worker process",
    )

    @field_validator("max_seconds")
    @classmethod
    def _not_below_initial(cls, max_seconds: float, info: ValidationInfo) -> float:
        if max_seconds < info.data.get("initial_seconds", 0.0):
            raise ValueError("is below retry.initial_seconds: raise it or lower the other")
        return max_seconds


class Verify(Section):
    """The comparison of every key of both servers while the stream runs."""

    continuous: bool = Field(default=True, description="compare all keys again and again, at a gentle rate")
    rate: Literal["gentle"] | Annotated[float, Number] = Field(
        default="gentle",
        description="gentle: at most a twentieth of the time; or keys per second; 0 for as fast as possible",
    )
    bytes_per_second: Bytes | None = Field(
        default=None, ge=1, description="maximum bytes of values that are compared per second; none: no limit"
    )
    repair: bool = Field(default=False, description="copy keys that differ from the source, and remove extra ones")
    max_pause_ms: Annotated[float, Number] = Field(
        default=5.0,
        gt=0,
        le=10_000,
        description="milliseconds for which one comparison may hold the stream, besides the round trip",
    )

    @property
    def keys_per_second(self) -> float | None:
        """The rate as a number: None is gentle, 0 without a limit."""
        return None if self.rate == "gentle" else float(self.rate)


class Rate(Section):
    """Limits of what the worker takes from the source a second; `shaker rate` changes them while it runs."""

    snapshot_bytes: Bytes | None = Field(
        default=None, ge=1, description="bytes of a snapshot per second; none: no limit"
    )
    snapshot_keys: Whole | None = Field(
        default=None, ge=1, description="keys of a snapshot per second; none: no limit"
    )
    stream_bytes: Bytes | None = Field(
        default=None, ge=1, description="bytes of the stream per second; none: no limit"
    )
    stream_commands: Whole | None = Field(
        default=None, ge=1, description="commands of the stream per second; none: no limit"
    )


class Migrate(Section):
    """The end of `mode=migrate`."""

    hold: bool = Field(default=False, description="stream on after the snapshot until `shaker cutover`")
    verify: bool = Field(default=True, description="compare every key of both servers before the end")
    again: bool = Field(default=False, description="continue a migration that is recorded as complete")
    deadline_seconds: Seconds | None = Field(
        default=None,
        gt=0,
        le=31536000,
        description="seconds after which a migration that is not complete exits with code 75; none: no deadline",
    )


class Report(Section):
    """The report of a run."""

    file: Path | None = Field(
        default=None,
        description="file for the report at the end: .md and .html for people, others JSON; none: no report",
    )


class Control(Section):
    """The control endpoint, `POST /control/...` on the health server's port."""

    token_file: Path | None = Field(
        default=None, description="file with the bearer token that controls ask for; none: no control endpoint"
    )
    allow_plain: bool = Field(
        default=False,
        description="take controls from other hosts over plain HTTP, where TLS ends before the worker",
    )


class Health(Section):
    """The HTTP server for probes, metrics and the page."""

    host: str = Field(default="0.0.0.0", min_length=1, description="address to listen on")  # noqa: S104 - probes come from outside
    port: Whole = Field(
        default=8080, ge=0, le=65535, description="TCP port to listen on; 0 picks a free one and logs it"
    )
    ready_max_lag_seconds: Seconds = Field(
        default=30.0, gt=0, le=604800, description="seconds of lag above which /readyz answers 503"
    )


class Log(Section):
    """The log on standard output."""

    format: Literal["auto", "json", "console"] = Field(
        default="auto",
        description="json: one object a line; console: for people; auto: console on a terminal, otherwise json",
    )
    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="minimum level that is written"
    )


class Settings(BaseSettings):
    """All settings of one worker. `shaker.settings.sources.load` loads them and knows the origin of each."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: Name = Field(
        default="default",
        description="names the checkpoint: 1 to 64 letters, digits, '.', '_' or '-'; "
        "workers that share a name form one replication",
    )
    mode: Literal["follow", "migrate", "snapshot"] = Field(
        default="follow",
        description="follow: run until stopped; migrate: snapshot, catch up, restore expiries, end; "
        "snapshot: copy the snapshot only",
    )
    fenced_action: Literal["exit", "wait"] = Field(
        default="exit", description="action after a newer worker of this name took over"
    )
    give_up_after_seconds: Seconds = Field(
        default=300.0,
        ge=0,
        le=86400,
        description="seconds without progress after which migrate and snapshot exit with code 75; "
        "follow never gives up",
    )
    drain_timeout_seconds: Seconds = Field(
        default=20.0,
        ge=0,
        le=3600,
        description="maximum seconds that a stopped worker takes to apply the data it has read",
    )
    memory_limit: Bytes = Field(
        default=64 * MIB, ge=MIB, le=1024 * GIB, description="maximum memory for data between source and target"
    )
    source: Source
    target: Target
    expiry: Expiry = Expiry()
    spool: SpoolSettings = SpoolSettings()
    snapshot: Snapshot = Snapshot()
    preflight: Preflight = Preflight()
    retry: Retry = Retry()
    verify: Verify = Verify()
    rate: Rate = Rate()
    migrate: Migrate = Migrate()
    report: Report = Report()
    control: Control = Control()
    health: Health = Health()
    log: Log = Log()

    @field_validator("target")
    @classmethod
    def _not_itself(cls, target: Target, info: ValidationInfo) -> Target:
        source = info.data.get("source")
        if source is not None and target.address.is_same_server(source.address):
            raise fault("target.url", "names the same server as source.url: name another server")
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
        """Take only the values that `load` merged, because it knows the origin of each."""
        return (init_settings,)

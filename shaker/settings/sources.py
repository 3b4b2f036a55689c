"""Load the settings: command line, environment, TOML file, secrets directory, defaults; the first to set a name wins.

pydantic-settings reads the environment and validates. Its TOML source ignores a file that is missing or a pipe
(`--config <(sops -d …)`), and its secrets source strips blanks off passwords: so both are read here. Unknown names
are faults in every origin, with a suggestion.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError
from pydantic_settings import EnvSettingsSource

from shaker.errors import SettingsError
from shaker.settings.faults import fault_line, suggestion
from shaker.settings.names import SETTINGS, VARIABLES
from shaker.settings.passwords import ENVIRONMENT_PREFIX, NESTED_DELIMITER, environment_name
from shaker.settings.schema import Settings
from shaker.settings.url import parse_address

CONFIG_VARIABLE = "SHAKER_CONFIG"
SECRETS_VARIABLE = "SHAKER_SECRETS_DIR"
DEFAULT_SECRETS_DIRECTORY = Path("/run/secrets/shaker")

# Variables of our prefix that are not settings; the last one belongs to the build.
OTHER_VARIABLES = frozenset((CONFIG_VARIABLE, SECRETS_VARIABLE, "SHAKER_BUILD_COMPILED"))

COMMAND_LINE = "command line"
DEFAULT = "default"

_SERVICE_LINK = re.compile(r"_SERVICE_(HOST|PORT(_[A-Z0-9_]+)?)$|_PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$")

_MAX_FILE = 1024 * 1024  # bytes: far more than any settings, and a bound for a mistaken path such as /dev/zero


@dataclass(frozen=True)
class Loaded:
    """Valid settings, and the origin of each dotted name: `default`, `command line`, a variable or a file."""

    settings: Settings
    origins: Mapping[str, str]

    def value(self, setting: str) -> Any:
        """Return the value of a dotted `setting`."""
        value: Any = self.settings
        for name in setting.split("."):
            value = getattr(value, name)
        return value

    def secrets(self) -> list[str]:
        """Return every secret in the settings, for the guard of the log."""
        out = []
        for endpoint in (self.settings.source, self.settings.target):
            out.append(endpoint.address.password)
            out.append(endpoint.password.get_secret_value() if endpoint.password else None)
        return [secret for secret in out if secret]


def load(
    command_line: Mapping[str, Any] | None = None,
    *,
    config_file: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Loaded:
    """Return the settings of all origins together.

    `command_line` maps dotted names to values; `config_file` overrides `SHAKER_CONFIG`. Raises SettingsError with
    one line for each fault of any origin: the setting, its variable, the fault, the fix.
    """
    environment = os.environ if environment is None else environment
    given = _Given()
    for setting, value in (command_line or {}).items():
        given.add(setting, value, COMMAND_LINE)
    given.add_variables(environment)
    path = config_file or environment.get(CONFIG_VARIABLE)
    if path:
        given.add_file(path, "--config" if config_file else CONFIG_VARIABLE)
    given.add_secrets(environment.get(SECRETS_VARIABLE))
    settings = given.validated()
    if settings is None:
        raise SettingsError("\n".join(given.faults))
    return Loaded(settings, {setting: given.origins.get(setting, DEFAULT) for setting in SETTINGS})


def masked(setting: str, value: Any) -> str | int | float | bool | None:
    """Return `value` of `setting` for people: `***` for a secret and for the password inside a URL."""
    if isinstance(value, SecretStr):
        return parse_address(value.get_secret_value()).masked_url if setting.endswith(".url") else "***"
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


@dataclass
class _Given:
    """The settings given so far, by dotted name, with their origins and faults: the first `add` of a name wins."""

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    unread: bool = False  # a file or directory of settings could not be read

    def add(self, setting: str, value: Any, origin: str) -> None:
        if setting not in SETTINGS:
            self.faults.append(f"{setting}: is not a setting (from {origin}){suggestion(setting, SETTINGS)}")
        elif setting not in self.values:
            self.values[setting] = value
            self.origins[setting] = origin

    def add_variables(self, environment: Mapping[str, str]) -> None:
        for variable in sorted(environment):
            ours = variable.upper().startswith(ENVIRONMENT_PREFIX)
            if not ours or variable in VARIABLES or variable in OTHER_VARIABLES:
                continue
            if not _set_by_kubernetes(variable, environment[variable]):
                hint = suggestion(variable, [*VARIABLES, *OTHER_VARIABLES])
                self.faults.append(f"{variable}: no setting has this environment variable{hint}")
        source = EnvSettingsSource(Settings, env_prefix=ENVIRONMENT_PREFIX, env_nested_delimiter=NESTED_DELIMITER)
        # Single settings only, because the source also takes a section as JSON. It looks names up in lower case.
        source.env_vars = {name.lower(): environment[name] for name in VARIABLES if name in environment}
        for setting, value in _flatten(source(), ""):
            self.add(setting, value, f"environment {environment_name(setting)}")

    def add_file(self, path: str, named_by: str) -> None:
        try:
            document = tomllib.loads(_read(Path(path)))
        except OSError as error:
            self._cannot_read(f"{named_by}: {path} cannot be read: {error.strerror}; name a TOML file")
        except UnicodeDecodeError:
            self._cannot_read(f"{named_by}: {path} is not UTF-8 text; name a TOML file")
        except tomllib.TOMLDecodeError as error:
            # The parser's message may quote the text, and the text may be a secret: the position is enough.
            position = str(error).rpartition("(")[2].rstrip(")")
            self._cannot_read(f"{named_by}: {path} is not valid TOML ({position}); correct it there")
        else:
            for setting, value in _flatten(document, ""):
                self.add(setting, value, path)

    def add_secrets(self, named: str | None) -> None:
        directory = Path(named) if named else DEFAULT_SECRETS_DIRECTORY
        if not directory.is_dir():
            if named:
                self._cannot_read(f"{SECRETS_VARIABLE}: {named} is not a directory; name one or leave it out")
            return
        for path in sorted(directory.iterdir()):
            setting = path.name.lower().removeprefix(ENVIRONMENT_PREFIX.lower()).replace(NESTED_DELIMITER, ".")
            # Other programs may share the directory: an unknown name is a fault only where it claims to be ours.
            ours = path.name.upper().startswith(ENVIRONMENT_PREFIX) or setting.partition(".")[0] in (
                "source",
                "target",
            )
            if path.name.startswith(".") or not (setting in SETTINGS or ours) or path.is_dir():
                continue
            try:
                self.add(setting, _read(path).removesuffix("\n").removesuffix("\r"), str(path))
            except (OSError, UnicodeDecodeError):
                self.faults.append(
                    f"{setting}: {path} cannot be read as UTF-8 text; check it and its access rights"
                )

    def _cannot_read(self, fault: str) -> None:
        self.unread = True
        self.faults.append(fault)

    def validated(self) -> Settings | None:
        """Return the settings, or None after adding the faults of their values."""
        nested: dict[str, Any] = {"source": {}, "target": {}}
        for setting, value in self.values.items():
            *sections, name = setting.split(".")
            inner = nested
            for section in sections:
                inner = inner.setdefault(section, {})
            inner[name] = value
        try:
            settings = Settings(**nested)
        except ValidationError as error:
            for each in error.errors(include_input=False, include_url=False):
                context = each.get("ctx", {})
                setting = context.get("setting") or ".".join(str(part) for part in each["loc"])
                if each["type"] != "missing" or not self._explained(setting):
                    origin = self.origins.get(setting, "")
                    self.faults.append(fault_line(setting, origin, each["type"], each["msg"], context))
            return None
        return None if self.faults else settings

    def _explained(self, setting: str) -> bool:
        """Whether another fault explains why `setting` is missing: an unread file, a misspelt name."""
        meant = (f"did you mean {setting}?", f"did you mean {environment_name(setting)}?")
        return self.unread or any(text.endswith(meant) for text in self.faults)


def _flatten(document: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in document.items():
        # A setting that is given as a table stays one: the model names the fault.
        if isinstance(value, dict) and prefix + name not in SETTINGS:
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _set_by_kubernetes(variable: str, value: str) -> bool:
    # A Service whose name begins with `shaker` gives every pod of its namespace variables such as
    # SHAKER_SERVICE_HOST and SHAKER_PORT=tcp://10.0.0.1:8080. The value distinguishes the latter from a setting
    # written with too few underscores.
    if variable.endswith("_PORT") and not variable.endswith("_SERVICE_PORT"):
        return value.startswith(("tcp://", "udp://", "sctp://")) or _SERVICE_LINK.search(variable) is not None
    return _SERVICE_LINK.search(variable) is not None


def _read(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(_MAX_FILE).decode()

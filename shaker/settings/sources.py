"""Where settings come from: command line, environment, file, secrets directory, defaults; the first one wins.

The layers are merged here and not by pydantic-settings' own sources, because each setting's origin is shown
by `shaker config`, and because each fault becomes one line that names the setting and never holds its value.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo

from shaker.bytesize import exact_size
from shaker.errors import SettingsError
from shaker.settings.endpoints import as_size
from shaker.settings.passwords import ENVIRONMENT_PREFIX, NESTED_DELIMITER, environment_name
from shaker.settings.schema import Settings
from shaker.settings.url import parse_address

CONFIG_VARIABLE = "SHAKER_CONFIG"
SECRETS_VARIABLE = "SHAKER_SECRETS_DIR"
DEFAULT_SECRETS_DIRECTORY = Path("/run/secrets/shaker")

# Variables of our prefix that are not settings; the last one belongs to the build.
_OTHER_VARIABLES = {CONFIG_VARIABLE, SECRETS_VARIABLE, "SHAKER_BUILD_COMPILED"}

COMMAND_LINE = "command line"
DEFAULT = "default"

_SERVICE_LINK = re.compile(r"_SERVICE_(HOST|PORT(_[A-Z0-9_]+)?)$|_PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$")

# What a person writes first, for settings without a default.
EXAMPLES = {"source.url": "redis://127.0.0.1:6379", "target.url": "redis://127.0.0.1:6380"}
# Pydantic's faults of bounds, by the name of the bound: how the fault's type begins, and how it is said here.
LIMITS = {
    "ge": ("greater_than_equal", "at least"),
    "gt": ("greater_than", "more than"),
    "le": ("less_than_equal", "at most"),
    "lt": ("less_than", "less than"),
}
TYPES = {
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "finite_number": "must be a number, and not infinite",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number of fewer digits",
    "int_type": "must be a whole number",
    "model_type": "must be a section with settings of its own",
    "path_type": "must be a path, in quotes",
    "string_too_short": "must not be empty",
    "string_type": "must be text, in quotes",
}

_MAX_FILE = 1024 * 1024  # bytes: far above any settings, far below what a mistaken path could bring into memory


def _leaves(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, FieldInfo]]:
    for name, info in model.model_fields.items():
        annotation = info.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from _leaves(annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, info


# Every setting by its dotted name, in the order of the model.
SETTINGS: Mapping[str, FieldInfo] = dict(_leaves(Settings, ""))


def is_size(setting: str) -> bool:
    """Return True when `setting` is a size in bytes."""
    return as_size in (getattr(each, "func", None) for each in SETTINGS[setting].metadata)


def fault_text(setting: str, kind: str, message: str, context: Mapping[str, Any]) -> str:
    """Return what is wrong with a value, without the value; `kind`, `message` and `context` are pydantic's."""
    if kind == "missing":
        example = EXAMPLES.get(setting)
        return "is required" + (f", for example {example}" if example else "")
    for name, text in LIMITS.items():
        if name in context and kind.startswith(text[0]):
            return f"must be {text[1]} {_limit(setting, context[name])}"
    if kind == "literal_error":
        return f"must be {context['expected'].replace(chr(39), '')}"
    if kind == "string_pattern_mismatch":
        return "holds a character that it may not hold, is empty, or is too long"
    if kind in TYPES:
        return TYPES[kind]
    return message.removeprefix("Value error, ")[:1].lower() + message.removeprefix("Value error, ")[1:]


def _limit(setting: str, limit: float) -> str:
    if setting in SETTINGS and is_size(setting):
        return exact_size(int(limit))
    number = str(int(limit)) if limit == int(limit) else str(limit)
    return f"{number} second{'' if limit == 1 else 's'}" if setting.endswith("_seconds") else number


def takes(setting: str, kind: type) -> bool:
    """Return True when values of `setting` are of this `kind` (or absent)."""
    annotation = SETTINGS[setting].annotation
    return annotation is kind or kind in get_args(annotation)


@dataclass(frozen=True)
class Loaded:
    """Valid settings, and for each dotted name its origin: `default`, `command line`, a variable or a file."""

    settings: Settings
    origins: Mapping[str, str]

    def value(self, setting: str) -> Any:
        """Return the value of a dotted `setting`."""
        value: Any = self.settings
        for name in setting.split("."):
            value = getattr(value, name)
        return value

    def secrets(self) -> list[str]:
        """Return every secret that the settings hold, for the guard of the log."""
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
    """Return the settings that the layers give together.

    `command_line` maps dotted names to values; `config_file` goes before `SHAKER_CONFIG`. Raises SettingsError
    with one line for each fault of any layer: the setting, its variable, what is wrong, what to do.
    """
    environment = os.environ if environment is None else environment
    merge = _Merge()
    merge.secrets(environment.get(SECRETS_VARIABLE))
    path = config_file or environment.get(CONFIG_VARIABLE)
    if path:
        merge.file(path, "--config" if config_file else CONFIG_VARIABLE)
    merge.variables(environment)
    for setting, value in (command_line or {}).items():
        merge.put(setting, value, COMMAND_LINE)
    settings = merge.settings()
    if settings is None:
        raise SettingsError("\n".join(merge.faults))
    return Loaded(settings, {setting: merge.origins.get(setting, DEFAULT) for setting in SETTINGS})


def suggestion(name: str, known: list[str]) -> str:
    """Return `; did you mean …?` with the closest of the `known` names, or what to do without one."""
    close = get_close_matches(name.lower(), [each.lower() for each in known], n=1, cutoff=0.75)
    if not close:
        return "; `shaker run --help` lists all settings"
    return f"; did you mean {next(each for each in known if each.lower() == close[0])}?"


@dataclass
class _Merge:
    """The layers, put one over the other: a later `put` wins."""

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    unread: bool = False  # a file or directory of settings could not be read

    def put(self, setting: str, value: Any, origin: str) -> None:
        if setting not in SETTINGS:
            self.faults.append(f"{setting}: is not a setting (from {origin}){suggestion(setting, list(SETTINGS))}")
            return
        self.values[setting] = value
        self.origins[setting] = origin

    def variables(self, environment: Mapping[str, str]) -> None:
        known = {environment_name(setting): setting for setting in SETTINGS}
        for variable in sorted(environment):
            if not variable.upper().startswith(ENVIRONMENT_PREFIX) or variable in _OTHER_VARIABLES:
                continue
            setting = known.get(variable)
            if setting is not None:
                self.put(setting, environment[variable], f"environment {variable}")
            elif not _set_by_kubernetes(variable, environment[variable]):
                hint = suggestion(variable, [*known, *_OTHER_VARIABLES])
                self.faults.append(f"{variable}: no setting has this environment variable{hint}")

    def file(self, path: str, named_by: str) -> None:
        try:
            text = _read(Path(path))
        except OSError as error:
            self._cannot_read(f"{named_by}: {path} cannot be read: {error.strerror}; name a TOML file")
            return
        except UnicodeDecodeError:
            self._cannot_read(f"{named_by}: {path} is not UTF-8 text; name a TOML file")
            return
        try:
            document = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            # The parser's message may quote the text, and the text may be a secret: its position says enough.
            position = str(error).rpartition("(")[2].rstrip(")")
            self._cannot_read(f"{named_by}: {path} is not valid TOML ({position}); correct it there")
            return
        for setting, value in _flatten(document, ""):
            self.put(setting, value, path)

    def _cannot_read(self, fault: str) -> None:
        self.unread = True
        self.faults.append(fault)

    def secrets(self, named: str | None) -> None:
        directory = Path(named) if named else DEFAULT_SECRETS_DIRECTORY
        if not directory.is_dir():
            if named:
                self._cannot_read(f"{SECRETS_VARIABLE}: {named} is not a directory; name one or leave it out")
            return
        for path in sorted(directory.iterdir()):
            setting = path.name.lower().removeprefix(ENVIRONMENT_PREFIX.lower()).replace(NESTED_DELIMITER, ".")
            # A directory of secrets may be shared with others: only names that claim to be ours can be a typo.
            ours = path.name.upper().startswith(ENVIRONMENT_PREFIX) or setting.partition(".")[0] in (
                "source",
                "target",
            )
            if path.name.startswith(".") or not (setting in SETTINGS or ours) or path.is_dir():
                continue
            try:
                self.put(setting, _read(path).removesuffix("\n").removesuffix("\r"), str(path))
            except (OSError, UnicodeDecodeError):
                self.faults.append(
                    f"{setting}: {path} cannot be read as UTF-8 text; check it and its access rights"
                )

    def settings(self) -> Settings | None:
        """Return the settings if there is no fault, of the layers or of the values; else None."""
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
                setting = each.get("ctx", {}).get("setting") or ".".join(str(part) for part in each["loc"])
                if each["type"] == "missing" and self._explained(setting):
                    continue
                what = fault_text(setting, each["type"], each["msg"], each.get("ctx", {}))
                self.faults.append(self._line(setting, what))
            return None
        return None if self.faults else settings

    def _explained(self, setting: str) -> bool:
        """Whether another fault says already why `setting` is missing: a file unread, a name misspelt."""
        meant = (f"did you mean {setting}?", f"did you mean {environment_name(setting)}?")
        return self.unread or any(text.endswith(meant) for text in self.faults)

    def _line(self, setting: str, what: str) -> str:
        origin = self.origins.get(setting, "")
        # A value from the environment came by the variable that is named anyway.
        came_from = f", from {origin}" if origin and not origin.startswith("environment ") else ""
        name = f"{setting} ({environment_name(setting)}{came_from})"
        info = SETTINGS.get(setting)
        described = info is not None and info.description and not what.startswith("is required")
        return f"{name}: {what}; meaning: {info.description}" if info and described else f"{name}: {what}"


def _flatten(document: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in document.items():
        # A setting that is given as a table is left as it is: the model says what is wrong with it.
        if isinstance(value, dict) and prefix + name not in SETTINGS:
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _set_by_kubernetes(variable: str, value: str) -> bool:
    # A Service whose name begins with `shaker` gives every pod of its namespace variables such as
    # SHAKER_SERVICE_HOST and SHAKER_PORT=tcp://10.0.0.1:8080; the value tells the latter from a setting that is
    # written with too few underscores.
    if variable.endswith("_PORT") and not variable.endswith("_SERVICE_PORT"):
        return value.startswith(("tcp://", "udp://", "sctp://")) or _SERVICE_LINK.search(variable) is not None
    return _SERVICE_LINK.search(variable) is not None


def _read(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(_MAX_FILE).decode()


def masked(setting: str, value: Any) -> str | int | float | bool | None:
    """Return `value` of `setting` for people: secrets replaced by `***`, also the password inside a URL."""
    if isinstance(value, SecretStr):
        return parse_address(value.get_secret_value()).masked_url if setting.endswith(".url") else "***"
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)

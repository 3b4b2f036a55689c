"""Command-line arguments: a parser that raises instead of exiting, and every setting as a flag."""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, NoReturn

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from shaker.bytesize import exact_size
from shaker.errors import SettingsError
from shaker.settings.names import SETTINGS, is_size, takes
from shaker.settings.schema import Settings
from shaker.settings.sources import Loaded, load

EPILOG = """\
Each setting can also be set by an environment variable (source.url is SHAKER_SOURCE__URL), in the TOML file named by
--config or SHAKER_CONFIG, or by a file in the secrets directory (SHAKER_SECRETS_DIR, default /run/secrets/shaker) with
a name such as source__password. The command line takes precedence over the environment, then the file, then the
secrets directory. Do not put passwords on the command line: every user of the machine can read it.
Sizes use the units of redis.conf: 64mb (or 64MiB) is 67108864 bytes.
"""


class Parser(argparse.ArgumentParser):
    """The argument parser of one command; its errors are SettingsErrors that name arguments and show no values."""

    def __init__(self, command: str, description: str, *, epilog: str = "") -> None:
        width = min(shutil.get_terminal_size().columns, 120)
        super().__init__(
            prog=f"shaker {command}",
            description=description,
            epilog=epilog,
            allow_abbrev=False,
            formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(
                prog, max_help_position=36, width=width
            ),
            usage=f"shaker {command} [options]",
        )

    def error(self, message: str) -> NoReturn:
        """Raise SettingsError instead of exiting."""
        # argparse repeats a value only after these words, for a flag that takes none.
        what = message.partition("ignored explicit argument")
        raise SettingsError(f"{what[0]}takes no value" if what[1] else message, hint=f"see `{self.prog} --help`")

    def parse(self, arguments: Sequence[str]) -> dict[str, Any]:
        """Return the arguments by name; raises SettingsError, naming the unknown ones."""
        namespace, unknown = self.parse_known_args(list(arguments))
        faults = []
        flags = [flag for action in self._actions for flag in action.option_strings]
        for each in unknown:
            name = each.partition("=")[0]
            # The value of an unknown flag follows it; it may be a secret and is not shown.
            if name.startswith("--"):
                close = get_close_matches(name, flags, n=1, cutoff=0.75)
                hint = f"did you mean {close[0]}?" if close else f"see `{self.prog} --help`"
                faults.append(f"{name}: is not an argument of `{self.prog}`; {hint}")
        if unknown and not faults:
            faults.append(f"`{self.prog}` takes flags only; see `{self.prog} --help`")
        if faults:
            raise SettingsError("\n".join(faults))
        return vars(namespace)


def add_settings(parser: Parser) -> None:
    """Add every setting to `parser` as a flag such as `--source.url`, grouped by section, and `--config`."""
    group = parser.add_argument_group("general")
    group.add_argument("--config", metavar="FILE", default=None, help="TOML file of settings (SHAKER_CONFIG)")
    sections: dict[str, Any] = {"": group}
    for setting, info in SETTINGS.items():
        section = setting.rpartition(".")[0]
        if section not in sections:
            sections[section] = parser.add_argument_group(section, _purpose(section))
        default = "required" if info.is_required() else f"default: {default_text(setting)}"
        text = f"{info.description} ({default})".replace("%", "%%")
        options: dict[str, Any] = {"dest": setting, "default": argparse.SUPPRESS}
        if takes(setting, bool):
            options |= {"nargs": "?", "const": "true", "metavar": "true|false"}
        else:
            options["metavar"] = _metavar(setting)
        kebab = f"--{setting.replace('_', '-')}"
        sections[section].add_argument(kebab, help=text, **options)
        if "_" in setting:
            sections[section].add_argument(f"--{setting}", help=argparse.SUPPRESS, **options)


def add_checks(parser: Parser) -> None:
    """Give `parser` the flags that select checks; they set preflight.skip_checks and preflight.only_checks."""
    group = parser.add_argument_group("checks", "docs/preflight.md lists the names.")
    for flag, purpose in (("skip", "leave out this check"), ("only", "make only this check")):
        group.add_argument(
            f"--{flag}-check",
            dest=f"{flag}_check",
            metavar="NAME",
            action="append",
            default=[],
            help=f"{purpose}; may be repeated",
        )


def load_given(given: dict[str, Any]) -> Loaded:
    """Return the settings; those `given` on the command line take precedence."""
    flags = {name: value for name, value in given.items() if name in SETTINGS}
    for flag in ("skip", "only"):
        if names := given.get(f"{flag}_check"):
            flags[f"preflight.{flag}_checks"] = ",".join(names)
    return load(flags, config_file=given["config"], environment=os.environ)


def _metavar(setting: str) -> str:
    info = SETTINGS[setting]
    choices = getattr(info.annotation, "__args__", ())
    if choices and all(isinstance(choice, str) for choice in choices):
        return "|".join(choices)
    if setting.endswith("_seconds"):
        return "SECONDS"
    return setting.rpartition(".")[2].rpartition("_")[2].upper()


def default_text(setting: str) -> str:
    """Return the default of `setting` as a person writes it."""
    info = SETTINGS[setting]
    if info.default is None or info.default is PydanticUndefined:
        return "none"
    if isinstance(info.default, bool):
        return str(info.default).lower()
    if is_size(setting):
        return exact_size(info.default)
    return f"{info.default:g}" if isinstance(info.default, float) else str(info.default)


def _purpose(section: str) -> str:
    model: type[BaseModel] = Settings
    for name in section.split("."):
        annotation = model.model_fields[name].annotation
        assert isinstance(annotation, type)
        assert issubclass(annotation, BaseModel)
        model = annotation
    return (model.__doc__ or "").partition("\n")[0]

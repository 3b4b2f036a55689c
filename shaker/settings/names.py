"""Every setting by its dotted name, and the forms of that name: `source.url` is `SHAKER_SOURCE__URL`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from shaker.settings.endpoints import as_size
from shaker.settings.passwords import environment_name
from shaker.settings.schema import Settings


def _leaves(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, FieldInfo]]:
    for name, info in model.model_fields.items():
        annotation = info.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from _leaves(annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, info


# Every setting by its dotted name, in the order of the model.
SETTINGS: Mapping[str, FieldInfo] = dict(_leaves(Settings, ""))
# The setting of each environment variable.
VARIABLES: Mapping[str, str] = {environment_name(setting): setting for setting in SETTINGS}


def is_size(setting: str) -> bool:
    """Return True if `setting` is a size in bytes."""
    return as_size in (getattr(each, "func", None) for each in SETTINGS[setting].metadata)


def takes(setting: str, kind: type) -> bool:
    """Return True if values of `setting` are of this `kind` (or absent)."""
    annotation = SETTINGS[setting].annotation
    return annotation is kind or kind in get_args(annotation)

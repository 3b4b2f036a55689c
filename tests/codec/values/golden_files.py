"""The golden files of this folder, by case: type and encoding, each of several servers."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from shaker.codec.values.decoder import payload_version
from tests.support.value_content import Content


class Golden(NamedTuple):
    """One dump, the server that wrote it, and what that tells of the value."""

    case: str
    server: str
    payload: bytes
    content: Content

    @property
    def version(self) -> int:
        """The RDB version that the payload names."""
        return payload_version(self.payload)

    @property
    def functions(self) -> bool:
        """Whether it is of FUNCTION DUMP."""
        return self.content["type"] == "functions"

    @property
    def expires(self) -> bool:
        """Whether it is a hash with fields that expire."""
        return self.content["type"] == "hash" and any(at != -1 for _, _, at in self.content["value"])


def golden() -> dict[str, list[Golden]]:
    """Return all dumps by case."""
    found: dict[str, list[Golden]] = defaultdict(list)
    for path in sorted((Path(__file__).parent / "golden").glob("*.dump")):
        case, _, server = path.stem.rpartition("_")
        content = json.loads(path.with_suffix(".json").read_text())
        found[case].append(Golden(case, server, path.read_bytes(), content))
    return dict(found)


GOLDEN = golden()
CASES = sorted(GOLDEN)

"""The settings of a replication that was turned round: source and target change places."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from shaker.settings.endpoints import Endpoint, Source, Target
from shaker.settings.schema import Settings

REVERSE: Final = "-reverse"


def turned_round(settings: Settings) -> Settings:
    """Return the settings of the other direction.

    Address, credentials and timeouts move with their server; rules for the target stay with the side. It is followed
    until an operator ends it, and never begins with a snapshot onto keys that it does not know.
    """
    rules = {
        name: getattr(settings.target, name)
        for name in Target.model_fields
        if name not in Endpoint.model_fields and name not in ("on_existing", "adopt")
    }
    return settings.model_copy(
        update={
            "source": Source(**_server(settings.target)),
            "target": Target(**_server(settings.source), **rules),
            "mode": "follow",
            "report": settings.report.model_copy(update={"file": _beside(settings.report.file)}),
        }
    )


def _beside(report: Path | None) -> Path | None:
    """Return the file of the other direction's report: `report-reverse.html` for `report.html`, and back."""
    if report is None:
        return None
    stem = report.stem.removesuffix(REVERSE)
    return report.with_stem(stem if stem != report.stem else f"{stem}{REVERSE}")


def _server(side: Endpoint) -> dict[str, Any]:
    return {name: getattr(side, name) for name in Endpoint.model_fields if name in side.model_fields_set}

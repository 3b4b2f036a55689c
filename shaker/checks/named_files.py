"""The files that settings name are checked before the worker starts.

Each connect reads them again. A file that is missing then is an AccessError, which is retried: a rotation may remove
the old file before it writes the new one.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from shaker.errors import AccessError, SettingsError
from shaker.net.tls import tls_context
from shaker.settings.passwords import environment_name
from shaker.settings.schema import Settings


def check_files(settings: Settings) -> None:
    """Raise SettingsError with one line for each unusable password, certificate or directory."""
    faults = []
    for endpoint in (settings.source, settings.target):
        reads: tuple[Callable[[], object], ...] = (
            endpoint.credentials,
            endpoint.sentinel_credentials,
            lambda endpoint=endpoint: tls_context(endpoint),  # type: ignore[misc]
        )
        for read in reads:
            try:
                read()
            except (SettingsError, AccessError) as error:
                faults.append(str(error))
    spool = settings.spool.dir
    if spool is not None and not (spool.is_dir() and os.access(spool, os.W_OK | os.X_OK)):
        what = "is not a directory" if not spool.is_dir() else "cannot be written to"
        faults.append(
            f"spool.dir ({environment_name('spool.dir')}): {spool} {what}; name one that this user may use"
        )
    report = settings.report.file
    if report is not None and not (report.parent.is_dir() and os.access(report.parent, os.W_OK | os.X_OK)):
        faults.append(
            f"report.file ({environment_name('report.file')}): {report.parent} is not a directory that can be "
            "written to; name a file in one that this user may use"
        )
    if faults:
        raise SettingsError("\n".join(faults))

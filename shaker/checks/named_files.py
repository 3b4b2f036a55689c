"""The files that settings name: whether each of them can be used, looked at before anything is started.

While the worker runs they are read again at each connect. One that is gone by then is an AccessError, which is
retried: whoever rotates a secret may remove the file before the new one is there.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from shaker.errors import AccessError, SettingsError
from shaker.net.tls import tls_context
from shaker.settings.passwords import environment_name
from shaker.settings.schema import Settings


def check_files(settings: Settings) -> None:
    """Raise SettingsError with one line for each password, certificate or directory that cannot be used."""
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
    if faults:
        raise SettingsError("\n".join(faults))

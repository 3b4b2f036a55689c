"""TLS contexts from the settings: made anew at each connect, so that replaced files are taken up."""

from __future__ import annotations

import ssl

from shaker.config import Endpoint
from shaker.errors import AccessError


def tls_context(endpoint: Endpoint) -> ssl.SSLContext | None:
    """Return the context for `endpoint`, None where its URL asks for no TLS.

    Raises AccessError naming the setting for files that cannot be read.
    """
    if not endpoint.address.tls:
        return None
    side = endpoint.side
    tls = endpoint.tls
    try:
        context = ssl.create_default_context(cafile=None if tls.ca_file is None else str(tls.ca_file))
    except (OSError, ssl.SSLError) as error:
        raise AccessError(f"{side}.tls.ca_file cannot be used: {error.strerror or error}") from error
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.cert_file is not None:
        try:
            context.load_cert_chain(tls.cert_file, tls.key_file)
        except (OSError, ssl.SSLError) as error:
            raise AccessError(
                f"{side}.tls.cert_file and {side}.tls.key_file cannot be used: {error.strerror or error}"
            ) from error
    return context

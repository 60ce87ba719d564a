"""Connections that give up soon where there is no way to a server, and are patient with one that answers."""

from __future__ import annotations

import errno
import http.client
import re
import socket
import ssl
import urllib.error
import urllib.request
from typing import Any

CONNECTING = 10.0
"""Seconds in which a connection must be made; a server may be silent for longer."""
NO_WAY = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN}
DENIED = re.compile(r"Tunnel connection failed: 4(?!08|25|29)\d\d")


class Connection(http.client.HTTPConnection):
    """A connection by http."""

    def connect(self) -> None:
        """Connect within `CONNECTING`."""
        promptly(self, super().connect)


class SecureConnection(http.client.HTTPSConnection):
    """A connection by https."""

    def connect(self) -> None:
        """Connect within `CONNECTING`."""
        promptly(self, super().connect)


def promptly(connection: http.client.HTTPConnection, connect: Any) -> None:
    """Connect within `CONNECTING`, and give the connection its own patience afterwards."""
    patience = connection.timeout
    connection.timeout = CONNECTING if patience is None else min(CONNECTING, patience)
    try:
        connect()
    finally:
        connection.timeout = patience
    connection.sock.settimeout(patience)


class Handler(urllib.request.HTTPHandler):
    """Opens addresses by http."""

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """Open an address."""
        return self.do_open(Connection, req)


class SecureHandler(urllib.request.HTTPSHandler):
    """Opens addresses by https."""

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """Open an address."""
        return self.do_open(SecureConnection, req, context=ssl.create_default_context())


class Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a server to another address by http or https, and never from https to an open connection."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """Return the request for the other address."""
        allowed = ("https://",) if req.full_url.startswith("https://") else ("https://", "http://")
        if not newurl.lower().startswith(allowed):
            why = f"a redirection to {newurl}, which is not allowed"
            raise urllib.error.HTTPError(req.full_url, code, why, headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def opener() -> urllib.request.OpenerDirector:
    """Return what opens addresses, by the proxies of the environment.

    Returns
    -------
    OpenerDirector
        The opener.
    """
    return urllib.request.build_opener(Handler, SecureHandler, Redirects)


def is_unreachable(reason: object) -> bool:
    """Tell whether a connection failed because there is no way to the server, now or in a minute.

    Parameters
    ----------
    reason : object
        Why it failed.

    Returns
    -------
    bool
        True where its name has no address, no network leads to it, it does not take connections in time, or a
        proxy does not allow it.
    """
    if isinstance(reason, (socket.gaierror, TimeoutError)):
        return True
    return isinstance(reason, OSError) and (reason.errno in NO_WAY or bool(DENIED.match(str(reason))))

"""The page by HTTP to this machine alone, so that each label is in its file when the page says so.

The server listens on the loopback address, every path begins with a token that is drawn anew each time, and requests
that name another host (DNS rebinding) or come from another page (their ``Origin``) are refused.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from radio_ag.errors import InputError, OutputError

HOST = "127.0.0.1"
"""Where the server listens: connections of other machines do not reach it."""

_LARGEST_BODY = 1 << 24  # bytes of labels in one request
_TIMEOUT = 30  # s without a byte of a request that has begun

Record = Mapping[str, Any]


def serve_page(
    paths: Sequence[Path],
    read: Callable[[], Sequence[Record]],
    put: Callable[[Sequence[Record]], None],
    started: Callable[[str], None],
    port: int = 0,
) -> None:
    """Serve pages until interrupted.

    Parameters
    ----------
    paths : sequence of Path
        The pages, of one folder, of different names.
    read : callable
        Gives the labels that the file has.
    put : callable
        Takes labels that a page sends, and returns when they are on the disk.
    started : callable
        Called with the address of the first page once it can be opened.
    port : int
        Where to listen; 0: where there is room.

    Raises
    ------
    OutputError
        If the port cannot be had.
    """
    token = secrets.token_urlsafe(24)
    pages = {f"/{token}/{path.name}": path for path in paths}

    class Handler(_Handler):
        files, labels = pages, f"/{token}/labels"
        take, give = staticmethod(put), staticmethod(read)

    try:
        server = ThreadingHTTPServer((HOST, port), Handler)
    except OSError as exc:
        raise OutputError(f"port {port} of {HOST} cannot be had: {exc.strerror or exc}") from exc
    server.daemon_threads = False  # a label that is being written is finished
    with server:
        started(f"http://{HOST}:{server.server_port}{next(iter(pages))}")
        server.serve_forever(poll_interval=0.1)


class _Handler(BaseHTTPRequestHandler):
    files: Mapping[str, Path]
    labels: str
    take: Callable[[Sequence[Record]], None]
    give: Callable[[], Sequence[Record]]
    timeout = _TIMEOUT

    def do_GET(self) -> None:
        """Answer with a page or the labels."""
        path = self.path.partition("?")[0]
        if self._refused():
            return
        if path == self.labels:
            self._answer(HTTPStatus.OK, json.dumps(list(self.give())), "application/json")
        elif path in self.files:
            self._answer(HTTPStatus.OK, self.files[path].read_bytes(), "text/html; charset=utf-8")
        else:
            self._answer(HTTPStatus.NOT_FOUND, "not here")

    def do_POST(self) -> None:
        """Keep labels; the answer comes when they are on the disk."""
        if self._refused():
            return
        if self.path != self.labels:
            self._answer(HTTPStatus.NOT_FOUND, "not here")
            return
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > _LARGEST_BODY:
            self._answer(HTTPStatus.BAD_REQUEST, f"a length of at most {_LARGEST_BODY} bytes is needed")
            return
        try:
            records = json.loads(self.rfile.read(int(length)))
            if not isinstance(records, list):
                raise InputError("labels are a list")
            self.take(records)
        except (ValueError, RecursionError, InputError) as exc:
            self._answer(HTTPStatus.BAD_REQUEST, f"not labels: {exc}")
        except OutputError as exc:
            self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, str(exc))
        else:
            self._answer(HTTPStatus.OK, "kept")

    def _refused(self) -> bool:
        """Whether a request came by another name than ours, or from another page."""
        own = f"{HOST}:{self.connection.getsockname()[1]}"
        origin = self.headers.get("Origin")
        if self.headers.get("Host") == own and origin in (None, f"http://{own}"):
            return False
        self._answer(HTTPStatus.FORBIDDEN, "only pages of this server are answered")
        return True

    def _answer(self, status: HTTPStatus, body: str | bytes, kind: str = "text/plain; charset=utf-8") -> None:
        content = body.encode("utf-8") if isinstance(body, str) else body
        self.send_response(status)
        headers = {
            "Content-Type": kind,
            "Content-Length": str(len(content)),
            "Cache-Control": "no-store",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Cross-Origin-Resource-Policy": "same-origin",
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: requests carry the token."""

"""A server of the reports of a folder of runs, for the browser of whoever started it.

It answers GET alone, changes nothing, and serves nothing but the list of runs and their pages, which it makes anew when
the files of a run have changed.
"""

import ipaddress
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import unquote, urlsplit

from matgen.errors import UserError
from matgen.report.data import report_data
from matgen.report.folders import is_run, run_folder
from matgen.report.index_page import POLICY, REFRESH, index_page
from matgen.report.page import report_html
from matgen.report.runs import Signature, runs_below, signature
from matgen.runtime.failures import guarded

HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}

RUN = "/run/"
"""Beginning of the address of a run's page."""

KEPT = 20
"""Pages in memory."""


class ServeError(UserError, OSError):
    """A folder or an address that cannot be served."""


@dataclass
class Pages:
    """The pages of a folder of runs, each kept until the files of its run change.

    Attributes:
        root: the folder, resolved.
    """

    root: Path
    _made: dict[Path, tuple[Signature, str]] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def index(self) -> str:
        """Return the list of runs."""
        return index_page(self.root.name or str(self.root), runs_below(self.root))

    def folder_of(self, path: str) -> Path | None:
        """Return the folder of a run by its path below the root; None if there is none, or if it lies outside."""
        if "\0" in path or path.startswith("/"):
            return None
        try:
            folder = (self.root / path).resolve()
            return folder if folder.is_relative_to(self.root) and is_run(folder) else None
        except (OSError, ValueError, RuntimeError):  # such as that of a name that is too long
            return None

    def page(self, folder: Path) -> str:
        """Return the page of a run; one that goes on loads itself again."""
        with self._lock:
            now = signature(folder)
            made = self._made.pop(folder, None)
            if made is None or made[0] != now:
                refresh = REFRESH if run_folder(folder).state == "running" else None
                made = now, report_html(report_data(folder), refresh)
            self._made[folder] = made
            while len(self._made) > KEPT:
                del self._made[next(iter(self._made))]
            return made[1]


def server(folder: Path, host: str = "127.0.0.1", port: int = 8000) -> ThreadingHTTPServer:
    """Return a server of the runs of a folder, which `serve_forever` starts.

    Args:
        folder: of runs, or of one run.
        host: address to listen at; with another than this machine's own, everybody who can reach it may read.
        port: to listen at; 0 for any that is free.

    Raises:
        ServeError: no folder, or an address that is in use or not of this machine.
    """
    if not folder.is_dir():
        raise ServeError(f"expected a folder of runs, got {folder}, which is none; name one that `matgen` wrote into")
    pages = Pages(folder.resolve())
    handler = type("Handler", (_Handler,), {"pages": pages, "local": _is_local(host)})
    try:
        return ThreadingHTTPServer((host, port), handler)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ServeError(
            f"cannot listen at {host} port {port}: {reason}; choose another --port, or 0 for any that is free"
        ) from error


class _Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    pages: Pages
    local: bool
    server_version, sys_version = "matgen", ""
    timeout = 30

    def do_GET(self) -> None:
        """Send the list of runs, or the page of one."""
        if self.local and not _is_local(_host_of(self.headers.get("Host", ""))):
            # Another site whose name leads here must not read the runs of this machine.
            self._say(HTTPStatus.FORBIDDEN, "This server answers to localhost alone.")
            return
        path = unquote(urlsplit(self.path).path)
        if path == "/":
            self._answer(self.pages.index, POLICY)
        elif path.startswith(RUN) and (folder := self.pages.folder_of(path.removeprefix(RUN))) is not None:
            self._answer(lambda: self.pages.page(folder), "frame-ancestors 'none'")
        else:
            self._say(HTTPStatus.NOT_FOUND, "No run of this folder has this address.")

    def _refuse(self) -> None:
        self._say(HTTPStatus.METHOD_NOT_ALLOWED, "This server only shows: GET alone is answered.")

    do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = _refuse  # noqa: N815 (names of http.server)

    def _answer(self, make: Any, policy: str) -> None:
        found, reason = guarded(lambda work: (work(), ""), make, lambda _, why: ("", why))
        if reason:
            self._say(HTTPStatus.INTERNAL_SERVER_ERROR, f"The page could not be made: {reason}")
        else:
            self._send(HTTPStatus.OK, "text/html; charset=utf-8", found, policy)

    def _say(self, status: HTTPStatus, text: str) -> None:
        self.close_connection = True
        self._send(status, "text/plain; charset=utf-8", text + "\n", "default-src 'none'")

    def _send(self, status: HTTPStatus, kind: str, text: str, policy: str) -> None:
        body = text.encode()
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Security-Policy", policy)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (name of http.server)
        """Say nothing of requests."""


def _host_of(header: str) -> str:
    """Return the host of a Host header, without port and brackets."""
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0]


def _is_local(host: str) -> bool:
    """Return whether a host is this machine as itself sees it."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

"""A hub of data sets on this machine, as far as `datasets` asks it."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

Repositories = dict[str, Path]
"""Folders by "NAME@REVISION"."""


class _Hub(BaseHTTPRequestHandler):
    repositories: Repositories
    asked: list[str]

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.asked.append(f"{self.command} {path}")
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "datasets"]:
            self._api(parts[2:])
        elif parts[0] == "datasets" and parts[3] == "resolve":
            self._file("/".join(parts[1:3]), parts[4], "/".join(parts[5:]))
        else:
            self._refuse("RepoNotFound")

    def _api(self, parts: list[str]) -> None:
        name, what, revision = "/".join(parts[:2]), parts[2], parts[3]
        folder = self.repositories.get(f"{name}@{revision}")
        if folder is None:
            return self._refuse("RevisionNotFound")
        files = [self._described(folder, file) for file in sorted(folder.rglob("*.*"))]
        if what == "revision":
            siblings = [{"rfilename": file["path"]} for file in files]
            return self._send({"id": name, "sha": revision, "siblings": siblings})
        if what == "tree":
            below = "/".join(parts[4:])
            return self._send([file for file in files if str(file["path"]).startswith(below)])
        length = int(self.headers["Content-Length"])
        body = self.rfile.read(length).decode()
        wanted = json.loads(body)["paths"] if body.startswith("{") else parse_qs(body)["paths"]
        return self._send([file for file in files if file["path"] in wanted])

    def _described(self, folder: Path, file: Path) -> dict[str, object]:
        path = str(file.relative_to(folder))
        return {"type": "file", "path": path, "size": file.stat().st_size, "oid": path}

    def _file(self, name: str, revision: str, path: str) -> None:
        folder = self.repositories.get(f"{name}@{revision}")
        if folder is None:
            return self._refuse("RevisionNotFound")
        if not (folder / path).is_file():
            return self._refuse("EntryNotFound", revision)
        data = (folder / path).read_bytes()
        self._headers(200, len(data), {"ETag": f'"{path}"', "X-Repo-Commit": revision})
        if self.command != "HEAD":
            self.wfile.write(data)
        return None

    def _send(self, value: object) -> None:
        data = json.dumps(value).encode()
        self._headers(200, len(data), {"Content-Type": "application/json"})
        if self.command != "HEAD":
            self.wfile.write(data)

    def _refuse(self, code: str, revision: str = "") -> None:
        self._headers(404, 0, {"X-Error-Code": code, "X-Repo-Commit": revision})

    def _headers(self, status: int, length: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(length)}.items():
            self.send_header(name, value)
        self.end_headers()


@contextmanager
def dataset_hub(repositories: Repositories) -> Iterator[tuple[str, list[str]]]:
    """Its address, and everything it is asked."""
    asked: list[str] = []
    handler = type("Hub", (_Hub,), {"repositories": repositories, "asked": asked})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()

# SPDX-License-Identifier: Apache-2.0
"""Fetching, against a real HTTP server on this host: whole, resumed, gone, cut off, and wrong."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from edgewright.depot import blobs
from edgewright.depot.blobs import BlobStore, Wanted, sha256_bytes
from edgewright.depot.progress import Progress, human_bytes
from edgewright.errors import InputError, IntegrityError, UnreachableError

DATA = os.urandom(3_000_000)
DIGEST = sha256_bytes(DATA)


@dataclass
class Source:
    """A server and what it was asked; `cut` ends that many first answers halfway."""

    url: str
    ranges: list[str | None] = field(default_factory=list)
    cut: int = 0


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> Iterator[Source]:
    monkeypatch.setattr(blobs.time, "sleep", lambda _s: None)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path != "/pool/a+b.deb":
                self.send_error(404)
                return
            told.ranges.append(self.headers["Range"])
            start = int(self.headers["Range"].split("=")[1].rstrip("-")) if self.headers["Range"] else 0
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(DATA) - start))
            self.end_headers()
            body = DATA[start:]
            if told.cut > 0:
                told.cut -= 1
                body = body[: len(body) // 2]
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told = Source(f"http://127.0.0.1:{server.server_address[1]}/pool/a+b.deb")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield told
    server.shutdown()
    thread.join()
    server.server_close()


def _wanted(source: Source, sha256: str = DIGEST, url: str | None = None) -> Wanted:
    return Wanted("a+b.deb", url or source.url, len(DATA), sha256)


def _progress() -> Progress:
    return Progress("fetching", len(DATA), io.StringIO())


def test_a_file_is_fetched_once_and_readable_by_all(source: Source, tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    store.fetch([_wanted(source)], _progress())
    assert store.path(DIGEST).read_bytes() == DATA
    assert store.path(DIGEST).stat().st_mode & 0o777 == 0o644
    store.fetch([_wanted(source)], _progress())
    assert len(source.ranges) == 1
    assert [path.name for path in tmp_path.iterdir()] == [DIGEST]


def test_a_transfer_goes_on_where_it_stopped(source: Source, tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    (tmp_path / f"{DIGEST}.part").write_bytes(DATA[:1000])
    store.fetch([_wanted(source)], _progress())
    assert source.ranges == ["bytes=1000-"]
    assert store.path(DIGEST).read_bytes() == DATA


def test_a_cut_transfer_is_resumed(source: Source, tmp_path: Path) -> None:
    source.cut = 2
    store = BlobStore(tmp_path)
    store.fetch([_wanted(source)], _progress())
    assert source.ranges[1:] == ["bytes=1500000-", "bytes=2250000-"]
    assert store.path(DIGEST).read_bytes() == DATA


def test_a_damaged_part_is_fetched_again_whole(source: Source, tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    (tmp_path / f"{DIGEST}.part").write_bytes(b"x" * 1000)
    store.fetch([_wanted(source)], _progress())
    assert source.ranges == ["bytes=1000-", None]
    assert store.path(DIGEST).read_bytes() == DATA


def test_other_bytes_than_locked_get_no_name(source: Source, tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    with pytest.raises(IntegrityError) as told:
        store.fetch([_wanted(source, "0" * 64)], _progress())
    assert f"expected sha256 {'0' * 64}, got {DIGEST}" in str(told.value)
    assert source.url in str(told.value)
    assert not store.has("0" * 64)


def test_a_file_that_the_source_dropped_is_named_with_what_to_do(source: Source, tmp_path: Path) -> None:
    gone = source.url.replace("a+b", "gone")
    with pytest.raises(InputError) as told:
        BlobStore(tmp_path).fetch([_wanted(source, url=gone)], _progress())
    assert "a+b.deb" in str(told.value)
    assert gone in str(told.value)
    assert "edgewright release lock" in str(told.value)


def test_a_source_that_does_not_answer_is_named(source: Source, tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match=r"a\+b\.deb from http://127\.0\.0\.1:1/.*4 tries"):
        BlobStore(tmp_path).fetch([_wanted(source, url="http://127.0.0.1:1/x")], _progress())


def test_a_file_is_not_fetched_from_this_host(source: Source, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected an http or https address"):
        BlobStore(tmp_path).fetch([_wanted(source, url="file:///etc/passwd")], _progress())


def test_placing_links_and_does_not_copy(tmp_path: Path) -> None:
    store = BlobStore(tmp_path / "store")
    digest = store.put(b"content")
    store.place(digest, tmp_path / "depot" / "file")
    assert (tmp_path / "depot" / "file").samefile(store.path(digest))


def test_a_file_with_another_digest_is_not_stored(tmp_path: Path) -> None:
    (tmp_path / "wheel").write_bytes(b"other")
    store = BlobStore(tmp_path / "store")
    with pytest.raises(IntegrityError, match="checking h11==1 from"):
        store.put_file(tmp_path / "wheel", "1" * 64, "h11==1")
    assert not store.has("1" * 64)


def test_progress_tells_bytes_rate_and_time_left() -> None:
    stream = io.StringIO()
    progress = Progress("fetching 2 files", 4_000_000, stream)
    progress.add(1_000_000)
    progress.close()
    assert stream.getvalue().startswith("fetching 2 files: 1.0 MB of 4.0 MB, ")
    assert "s left" in stream.getvalue()
    assert human_bytes(2.5e9) == "2.50 GB"

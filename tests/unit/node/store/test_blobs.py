"""Blobs: stored whole or not at all, found again, refused without room, swept with care."""

from __future__ import annotations

import errno
import io
import os
import threading

import pytest

from node.store import blobs as blobs_module
from node.store.blobs import (
    SMALL_BYTES_MAX,
    BlobDamaged,
    BlobMismatch,
    BlobMissing,
    Blobs,
    QuotaFull,
    digest_of,
)
from node.store.database import DiskFull
from tests.fakes.disk import FakeDisk

SMALL = b"small"
LARGE = os.urandom(SMALL_BYTES_MAX + 1)
EDGE = os.urandom(SMALL_BYTES_MAX)


class Now:
    def __init__(self):
        self.s = 1000.0

    def __call__(self):
        return self.s


@pytest.fixture
def now():
    return Now()


@pytest.fixture
def blobs(tmp_path, now):
    blobs = Blobs(tmp_path / "blobs", now_s=now)
    yield blobs
    blobs.close()


def files(blobs):
    return [p for p in blobs.folder.rglob("*") if p.is_file() and "small.sqlite" not in p.name]


@pytest.mark.parametrize("content", [b"", SMALL, EDGE, LARGE])
def test_what_was_put_is_read_back(blobs, content):
    digest = blobs.put(content)
    assert digest == digest_of(content)
    assert blobs.get(digest) == blobs.read(digest) == content
    assert blobs.size(digest) == blobs.verify(digest) == len(content)
    assert blobs.read(digest, 2, 3) == content[2:5]
    with blobs.open(digest) as file:
        file.seek(3)
        assert file.read() == content[3:]


def test_only_large_blobs_are_files_of_their_own(blobs):
    blobs.put_many([SMALL, EDGE])
    assert files(blobs) == []
    digest = blobs.put(LARGE)
    assert files(blobs) == [blobs.path_of(digest)]


def test_digests_come_in_the_order_of_the_contents(blobs):
    contents = [LARGE, SMALL, b"x", SMALL, EDGE]
    assert blobs.put_many(contents) == [digest_of(content) for content in contents]
    assert blobs.used_bytes == len(LARGE) + len(SMALL) + 1 + len(EDGE)


def test_putting_again_stores_nothing_more(blobs):
    for _ in range(3):
        blobs.put_many([SMALL, LARGE])
    assert blobs.used_bytes == len(SMALL) + len(LARGE)


def test_missing_names_those_that_are_not_here(blobs):
    here = blobs.put_many([SMALL, LARGE])
    absent = [digest_of(b"1"), digest_of(b"2")]
    assert blobs.missing([absent[0], *here, absent[1], absent[0]]) == absent


def test_thousands_of_small_blobs_in_one_call(blobs):
    contents = [b"%d" % n for n in range(5000)]
    digests = blobs.put_many(contents)
    assert blobs.missing(digests) == []
    assert blobs.get(digests[4321]) == b"4321"


def test_an_unknown_digest_is_missing(blobs):
    for call in (blobs.size, blobs.open, blobs.read, blobs.get, blobs.verify, blobs.finish):
        with pytest.raises(BlobMissing):
            call(b"\0" * 32)


def test_everything_is_there_after_reopening(blobs, tmp_path):
    digests = blobs.put_many([SMALL, LARGE])
    blobs.close()
    again = Blobs(tmp_path / "blobs")
    assert [again.get(digest) for digest in digests] == [SMALL, LARGE]
    assert again.used_bytes == len(SMALL) + len(LARGE)
    assert sorted(again.all()) == sorted(zip(digests, [len(SMALL), len(LARGE)], strict=True))
    again.close()
    blobs._db = blobs._open()  # for the fixture's close


@pytest.mark.parametrize("content", [b"", SMALL, LARGE, os.urandom(3 << 20)])
def test_a_stream_is_stored_under_its_digest(blobs, content):
    assert blobs.put_stream(io.BytesIO(content)) == (digest_of(content), len(content))
    assert blobs.get(digest_of(content)) == content


def test_a_stream_that_is_not_what_was_announced_leaves_nothing(blobs):
    with pytest.raises(BlobMismatch):
        blobs.put_stream(io.BytesIO(LARGE), digest=digest_of(SMALL))
    assert files(blobs) == []
    assert blobs.missing([digest_of(LARGE)]) == [digest_of(LARGE)]


def test_a_stream_that_breaks_leaves_nothing(blobs):
    class Broken(io.BytesIO):
        def read(self, size=-1):
            chunk = super().read(size)
            if not chunk:
                raise ConnectionError("gone")
            return chunk

    with pytest.raises(ConnectionError):
        blobs.put_stream(Broken(LARGE))
    assert files(blobs) == []


# Uploads in pieces


def test_an_upload_goes_on_where_it_stopped(blobs, tmp_path):
    digest = digest_of(LARGE)
    assert blobs.append(digest, 0, LARGE[:1000]) == 1000
    blobs.close()
    again = Blobs(tmp_path / "blobs")
    assert again.partial_size(digest) == 1000
    assert again.append(digest, 5000, LARGE[5000:]) == 1000  # a gap: nothing is taken
    assert again.append(digest, 1000, LARGE[1000:]) == len(LARGE)
    assert again.finish(digest) == len(LARGE)
    assert again.get(digest) == LARGE
    assert again.partial_size(digest) == 0
    assert again.finish(digest) == len(LARGE)  # the answer got lost, the sender asks again
    again.close()
    blobs._db = blobs._open()


def test_a_small_upload_ends_as_a_row(blobs):
    blobs.append(digest_of(SMALL), 0, SMALL)
    blobs.finish(digest_of(SMALL))
    assert files(blobs) == []
    assert blobs.get(digest_of(SMALL)) == SMALL


def test_a_wrong_upload_is_dropped(blobs):
    blobs.append(digest_of(LARGE), 0, LARGE[:-1])
    with pytest.raises(BlobMismatch):
        blobs.finish(digest_of(LARGE))
    assert blobs.partial_size(digest_of(LARGE)) == 0
    assert files(blobs) == []


def test_a_piece_of_another_sender_never_changes_a_checked_blob(blobs, monkeypatch):
    digest = digest_of(LARGE)
    others = []
    check = blobs_module._digest_of_file

    def checked_while_another_sends(path):
        found = check(path)
        others.append(threading.Thread(target=blobs.append, args=(digest, 0, b"other")))
        others[0].start()
        others[0].join(0.1)  # as far as it gets
        return found

    monkeypatch.setattr(blobs_module, "_digest_of_file", checked_while_another_sends)
    blobs.append(digest, 0, LARGE)
    assert blobs.finish(digest) == len(LARGE)
    others[0].join()
    assert blobs.verify(digest) == len(LARGE)
    assert blobs.partial_size(digest) == 0


def test_a_sender_behind_a_faster_one_goes_on_to_the_end(blobs):
    digest = digest_of(LARGE)
    blobs.append(digest, 0, LARGE[:1000])
    blobs.put(LARGE)
    assert blobs.append(digest, 1000, LARGE[1000:]) == len(LARGE)
    assert blobs.finish(digest) == len(LARGE)
    assert files(blobs) == [blobs.path_of(digest)]


# No room


def test_the_quota_refuses_and_keeps_what_is_there(tmp_path):
    blobs = Blobs(tmp_path / "blobs", quota_bytes=len(LARGE) + 100)
    digest = blobs.put(LARGE)
    for call in (
        lambda: blobs.put_many([b"a" * 60, b"b" * 60]),
        lambda: blobs.put(LARGE + b"x"),
        lambda: blobs.put_stream(io.BytesIO(EDGE)),
        lambda: blobs.append(digest_of(EDGE), 0, EDGE),
    ):
        with pytest.raises(QuotaFull):
            call()
    assert blobs.put(LARGE) == digest
    assert blobs.used_bytes == len(LARGE)
    assert files(blobs) == [blobs.path_of(digest)]
    blobs.close()


def test_a_full_disk_refuses_small_blobs(tmp_path):
    disk = FakeDisk()
    blobs = Blobs(tmp_path / "blobs", vfs=disk.vfs)
    first = blobs.put(b"first")
    disk.full = True
    with pytest.raises(DiskFull):
        blobs.put_many([os.urandom(1000) for _ in range(100)])
    disk.full = False
    assert blobs.get(first) == b"first"
    assert blobs.used_bytes == 5
    blobs.put(b"second")
    blobs.close()
    disk.close()


def test_a_full_disk_refuses_large_blobs(blobs, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(blobs_module.os, "fsync", full)
    with pytest.raises(DiskFull):
        blobs.put(LARGE)
    assert files(blobs) == []
    assert blobs.missing([digest_of(LARGE)]) == [digest_of(LARGE)]


# Damage and crashes


def test_damage_is_noticed(blobs):
    digest = blobs.put(LARGE)
    path = blobs.path_of(digest)
    path.write_bytes(LARGE[:-1] + b"?")
    with pytest.raises(BlobDamaged):
        blobs.get(digest)
    with pytest.raises(BlobDamaged):
        blobs.verify(digest)


def test_a_crash_before_the_row_leaves_a_file_that_the_next_put_takes_over(blobs):
    digest = digest_of(LARGE)
    path = blobs.path_of(digest)
    path.parent.mkdir()
    path.write_bytes(LARGE[:10])  # as much as reached the disk
    assert blobs.missing([digest]) == [digest]
    blobs.put(LARGE)
    assert blobs.get(digest) == LARGE


def test_a_power_cut_keeps_what_put_returned(tmp_path):
    disk = FakeDisk()
    blobs = Blobs(tmp_path / "blobs", vfs=disk.vfs)
    kept = [blobs.put(b"%d" % n) for n in range(5)]
    disk.survivors(tmp_path / "left", seed=1)
    left = Blobs(tmp_path / "left")
    assert [left.get(digest) for digest in kept] == [b"%d" % n for n in range(5)]
    left.close()
    blobs.close()
    disk.close()


def test_leftovers_of_broken_streams_are_cleared_at_the_start(blobs, tmp_path):
    (blobs.folder / "partial" / "tmp-1-1").write_bytes(b"half")
    again = Blobs(tmp_path / "blobs")
    assert files(again) == []
    again.close()


# Sweeping


def test_a_sweep_deletes_what_no_record_names(blobs, now):
    keep, drop, keep_large, drop_large = blobs.put_many([SMALL, b"drop", LARGE, LARGE + b"x"])
    now.s += 4000
    assert blobs.sweep([keep, keep_large]) == 4 + len(LARGE) + 1
    assert blobs.missing([keep, drop, keep_large, drop_large]) == [drop, drop_large]
    assert files(blobs) == [blobs.path_of(keep_large)]
    assert blobs.used_bytes == len(SMALL) + len(LARGE)


def test_a_sweep_spares_what_was_promised_lately(blobs, now):
    old, asked = blobs.put_many([b"old", b"asked about"])
    now.s += 4000
    assert blobs.missing([asked]) == []  # "you need not send it"
    new = blobs.put(b"new")
    blobs.sweep([])
    assert blobs.missing([old, asked, new]) == [old]


def test_a_young_process_deletes_nothing(tmp_path, now):
    first = Blobs(tmp_path / "blobs", now_s=now)
    digest = first.put(SMALL)
    first.close()
    now.s += 4000
    second = Blobs(tmp_path / "blobs", now_s=now)
    assert second.sweep([]) == 0
    assert second.missing([digest]) == []
    second.close()


# Threads


def test_callers_that_meet_share_commits_and_lose_nothing(tmp_path):
    disk = FakeDisk(sync_s=0.002)
    blobs = Blobs(tmp_path / "blobs", vfs=disk.vfs)
    before = disk.syncs
    errors = []

    def work(thread):
        try:
            for n in range(10):
                content = b"%d/%d" % (thread, n)
                assert blobs.get(blobs.put(content)) == content
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert blobs.used_bytes == sum(len(b"%d/%d" % (t, n)) for t in range(8) for n in range(10))
    assert disk.syncs - before < 80
    blobs.close()
    disk.close()

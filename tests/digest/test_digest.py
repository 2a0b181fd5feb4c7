"""Trees by content: what is listed, what is hashed, and what the stat cache may spare."""

import hashlib
import os
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest

from runbook.digest import statcache
from runbook.digest.atomic import write_atomic
from runbook.digest.beneath import open_beneath
from runbook.digest.copy import copy_hashed
from runbook.digest.hashing import hash_tree
from runbook.digest.lanes import Lane
from runbook.digest.statcache import StatCache, fingerprint
from runbook.digest.tree import digest_tree
from runbook.digest.walk import Walk
from runbook.errors import UsageError
from runbook.model import manifest


def make_tree(root: Path, count: int = 0) -> Path:
    """A tree with every kind of entry, and `count` small files."""
    (root / "sub/deeper").mkdir(parents=True)
    (root / "empty/also").mkdir(parents=True)
    (root / "a.txt").write_bytes(b"a")
    (root / "sub/é ü.bin").write_bytes(bytes(range(256)) * 5000)
    (root / "sub/deeper/run.sh").write_bytes(b"#!/bin/sh\n")
    (root / "sub/deeper/run.sh").chmod(0o755)
    (root / "sub/none").write_bytes(b"")
    (root / "link").symlink_to("a.txt")
    (root / "folder").symlink_to("sub")
    (root / "outside").symlink_to("/etc")
    for number in range(count):
        path = root / f"many/{number % 7}/{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d" % number * (number % 400))
    return root


@pytest.fixture
def trusting(monkeypatch):
    """Files are trusted a hundredth of a second after they changed, so that tests need not wait."""
    monkeypatch.setattr(statcache, "_MARGIN_NS", 10_000_000)


def test_a_walk_lists_files_links_modes_and_empty_folders_and_follows_no_link(tmp_path):
    listing = Walk(make_tree(tmp_path))
    assert list(listing.folders()) == [["a.txt"], ["sub/none", "sub/é ü.bin"], ["sub/deeper/run.sh"]]
    assert [(link.path, link.target) for link in listing.links] == [
        ("folder", "sub"),
        ("link", "a.txt"),
        ("outside", "/etc"),
    ]
    assert listing.empty_directories == ("empty/also",)
    os.mkfifo(tmp_path / "pipe")
    listing = Walk(tmp_path)
    assert sum(map(len, listing.folders())) == 4
    assert listing.others == ("pipe",)


@pytest.mark.parametrize("name", [b"new\nline", b"esc\x1b[0m", b"back\\slash", b"\xff", "\u202etxt".encode()])
def test_a_name_that_no_manifest_can_hold_is_refused_by_name(name, tmp_path):
    os.close(os.open(os.fsencode(tmp_path) + b"/" + name, os.O_CREAT | os.O_WRONLY))
    with pytest.raises(UsageError) as caught:
        digest_tree(tmp_path)
    assert caught.value.id == "unstorable-name"
    assert caught.value.value


@pytest.mark.parametrize("count", [0, 20, 3000])
def test_digests_are_those_of_sha256sum(count, tmp_path):
    root = make_tree(tmp_path / "tree", count)
    (root / "large").write_bytes(os.urandom(9 << 20))
    _tree, entries = digest_tree(root)
    listed = "".join(f"{e.sha256}  {e.path}\n" for e in entries)
    done = subprocess.run(
        ["sha256sum", "--strict", "--quiet", "-c"],
        input=listed,
        cwd=root,
        text=True,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")
    assert [e.size for e in entries] == [(root / e.path).stat().st_size for e in entries]
    assert len(entries) == count + 5


def test_the_tree_digest_is_the_digest_of_its_manifest(tmp_path):
    tree, entries = digest_tree(make_tree(tmp_path))
    assert tree.digest == hashlib.sha256(manifest.render(entries)).hexdigest()
    assert (tree.files, tree.bytes) == (4, sum(e.size for e in entries))
    assert tree.shape.executables == ("sub/deeper/run.sh",)
    assert manifest.parse(manifest.render(entries)) == entries


def test_hashing_works_from_a_script_without_a_guard_and_from_a_thread(tmp_path):
    root = make_tree(tmp_path / "tree", 500)
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, threading\nfrom pathlib import Path\nfrom runbook.digest.tree import digest_tree\n"
        "done = []\nt = threading.Thread(target=lambda: done.append(digest_tree(Path(sys.argv[1]))[0].digest))\n"
        "t.start(); t.join(); print(done[0])\n"
    )
    done = subprocess.run([sys.executable, script, root], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == digest_tree(root)[0].digest


@pytest.mark.parametrize("count", [3, 600])
def test_what_cannot_be_hashed_is_named(count, tmp_path):
    names = [f"{n}" for n in range(count)]
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(FileNotFoundError) as caught:
        hash_tree(tmp_path, [*names, "gone"])
    assert caught.value.filename.endswith("/gone")
    (tmp_path / "0").unlink()
    (tmp_path / "0").symlink_to("/etc/passwd")
    with pytest.raises(OSError, match="symbolic links") as looped:
        hash_tree(tmp_path, names)
    assert looped.value.filename.endswith("/0")
    (tmp_path / "0").unlink()
    os.mkfifo(tmp_path / "0")
    with pytest.raises(OSError, match="not a regular file"):
        hash_tree(tmp_path, names)


@pytest.mark.parametrize("count", [3, 600])
@pytest.mark.parametrize("becomes", ["link", "pipe", "longer", "nothing"])
def test_a_file_that_changes_between_the_look_and_the_reading_is_read_as_it_is_or_named(
    count, becomes, tmp_path, monkeypatch
):
    names = [f"{n:03d}" for n in range(count)]
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    looked = Lane.stat

    def change(lane, paths):
        answer = looked(lane, paths)
        if "001" in paths:
            (tmp_path / "001").unlink()
            if becomes == "link":
                (tmp_path / "001").symlink_to("/etc/passwd")
            elif becomes == "pipe":
                os.mkfifo(tmp_path / "001")
            elif becomes == "longer":
                (tmp_path / "001").write_bytes(b"xx")
        return answer

    monkeypatch.setattr(Lane, "stat", change)
    cache = StatCache(tmp_path.parent / "cache")
    if becomes == "longer":
        entries = hash_tree(tmp_path, names, cache=cache)
        assert entries[1] == ("001", 2, hashlib.sha256(b"xx").hexdigest())
    else:
        with pytest.raises(OSError) as caught:
            hash_tree(tmp_path, names, cache=cache)
        assert str(caught.value.filename).endswith("/001")
    assert cache.get(fingerprint(os.lstat(tmp_path / "000"))) is None


def test_a_batch_that_is_many_small_folders_is_hashed_in_order(tmp_path):
    for number in range(3000):
        (tmp_path / f"{number}").mkdir()
        (tmp_path / f"{number}" / "f").write_bytes(b"%d" % number)
    entries = digest_tree(tmp_path)[1]
    assert [e.path for e in entries] == sorted(f"{n}/f" for n in range(3000))
    assert all(e.sha256 == hashlib.sha256(e.path[:-2].encode()).hexdigest() for e in entries)


def test_an_unchanged_tree_is_not_read_again(tmp_path, trusting):
    root = make_tree(tmp_path / "tree", 300)
    time.sleep(0.05)
    cache = StatCache(tmp_path / "cache")
    first = digest_tree(root, cache=cache)
    cache.save()
    again = StatCache(tmp_path / "cache")
    for path in root.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.chmod(0)  # ctime changes: the stat differs, so it would have to be read
            path.chmod(0o644)
            break
    assert digest_tree(root, cache=again)[1] == first[1]
    marks = [fingerprint(path.lstat()) for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
    assert sum(again.get(mark) is not None for mark in marks) == len(marks) - 1


def test_only_what_changed_is_read_again_and_the_rest_of_its_folder_is_known(tmp_path, trusting, monkeypatch):
    root = make_tree(tmp_path / "tree", 3000)
    time.sleep(0.05)
    cache = StatCache(tmp_path / "cache")
    digest_tree(root, cache=cache)
    cache.save()
    (root / "many/3/new").write_bytes(b"new")
    (root / "many/3/10").write_bytes(b"changed")
    read = []
    asked = Lane.hash
    monkeypatch.setattr(Lane, "hash", lambda lane, paths: read.extend(paths) or asked(lane, paths))
    for expected in (["many/3/10", "many/3/new"], []):
        time.sleep(0.05)
        cache = StatCache(tmp_path / "cache")
        entries = digest_tree(root, cache=cache)[1]
        cache.save()
        assert sorted(read) == expected
        assert {e.path: e.sha256 for e in entries}["many/3/10"] == hashlib.sha256(b"changed").hexdigest()
        read.clear()


def test_what_later_groups_make_superfluous_and_what_exceeds_the_capacity_is_forgotten(tmp_path, monkeypatch):
    monkeypatch.setattr(statcache, "_CAPACITY", 3)
    now = time.time_ns()
    one, two, three, four = (statcache.worker.MARK.pack(1, n, 1, 1, 1) for n in range(4))
    cache = StatCache(tmp_path / "cache")
    cache.put(one, bytes(32), now)
    cache.put(two + three, bytes(64), now)
    cache.put(one + two, bytes(64), now)
    cache.put(two + three + four, bytes(96), now)
    cache.save()
    again = StatCache(tmp_path / "cache")
    assert again.find(two + three + four) == bytes(96)
    assert again.find(two + three) is None and again.find(one) is None and again.get(one) is None
    assert again.get(two) == bytes(32)


def test_a_changed_file_of_the_same_size_and_time_is_seen(tmp_path, trusting):
    path = tmp_path / "tree" / "f"
    path.parent.mkdir()
    path.write_bytes(b"one")
    os.utime(path, (1_000_000_000, 1_000_000_000))
    time.sleep(0.05)
    cache = StatCache(tmp_path / "cache")
    before = digest_tree(path.parent, cache=cache)[1]
    path.write_bytes(b"two")
    os.utime(path, (1_000_000_000, 1_000_000_000))
    assert digest_tree(path.parent, cache=cache)[1] != before


def test_a_file_hashed_in_the_moment_it_was_written_is_not_trusted(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"one")
    cache = StatCache(tmp_path / "cache")
    hash_tree(tmp_path, ["f"], cache=cache)
    assert cache.get(fingerprint(path.stat())) is None
    now = time.time_ns()
    cache.put(fingerprint(path.stat()), bytes(32), now)
    assert cache.get(fingerprint(path.stat())) is None
    cache.put(fingerprint(path.stat()), bytes(32), now + 3_000_000_000)
    assert cache.get(fingerprint(path.stat())) == bytes(32)


def saved(path: Path, *marks: int) -> None:
    cache = StatCache(path)
    for mark in marks:
        cache.put(statcache.worker.MARK.pack(1, mark, 1, 1, 1), bytes([mark]) * 32, time.time_ns())
    cache.save()


def known(path: Path, mark: int) -> bytes | None:
    return StatCache(path).get(statcache.worker.MARK.pack(1, mark, 1, 1, 1))


@pytest.mark.parametrize("offset", [0, 25, 60, 100, -1])
def test_a_corrupt_cache_is_ignored_and_written_anew(offset, tmp_path):
    path = tmp_path / "cache"
    saved(path, 1, 2)
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)
    assert known(path, 1) is None
    saved(path, 3)
    assert known(path, 3) == b"\3" * 32
    path.write_bytes(path.read_bytes()[:-1])
    assert known(path, 3) is None


def test_two_writers_of_the_cache_do_not_lose_each_others_entries(tmp_path):
    path = tmp_path / "deep" / "cache"
    one, two = StatCache(path), StatCache(path)
    for number, cache in ((1, one), (2, two)):
        cache.put(statcache.worker.MARK.pack(1, number, 1, 1, 1), bytes([number]) * 32, time.time_ns())
        cache.save()
    assert known(path, 1) and known(path, 2)
    assert [p.name for p in path.parent.iterdir()] == ["cache"]


def test_every_tree_has_its_own_cache_and_the_oldest_go_when_all_are_large(tmp_path, monkeypatch):
    trees = [tmp_path / name for name in "abc"]
    caches = [StatCache.of_tree(tmp_path / "caches", tree) for tree in trees]
    for number, cache in enumerate(caches):
        cache.put(statcache.worker.MARK.pack(1, number, 1, 1, 1), bytes([number]) * 32, time.time_ns())
        assert cache.save() and not cache.save()
        os.utime(next(p for p in (tmp_path / "caches").iterdir() if p.stat().st_mtime > 10), (number, number))
    mark = statcache.worker.MARK.pack(1, 0, 1, 1, 1)
    assert StatCache.of_tree(tmp_path / "caches", trees[0]).get(mark) == bytes(32)
    assert StatCache.of_tree(tmp_path / "caches", trees[1]).get(mark) is None
    caches[0].forget_others()
    assert len(list((tmp_path / "caches").iterdir())) == 3
    monkeypatch.setattr(statcache, "_ALL", 0)
    caches[0].forget_others()
    assert StatCache.of_tree(tmp_path / "caches", trees[0]).get(mark) == bytes(32)
    assert len(list((tmp_path / "caches").iterdir())) == 1


def test_opening_beneath_a_root_follows_no_link_and_waits_for_no_pipe(tmp_path):
    make_tree(tmp_path / "tree")
    with open_beneath(tmp_path / "tree", "sub/none") as file:
        assert file.read() == b""
    os.mkfifo(tmp_path / "tree" / "pipe")
    for path in ("link", "folder/none", "outside/passwd"):
        with pytest.raises(OSError):
            open_beneath(tmp_path / "tree", path)
    for path in ("pipe", "sub", "../tree/a.txt", "/etc/passwd", "sub/../a.txt", "", "sub//none", "a.txt/", "."):
        with pytest.raises((ValueError, OSError)):
            open_beneath(tmp_path / "tree", path)


def test_an_atomic_write_leaves_the_old_or_the_new_and_nothing_else(tmp_path):
    path = tmp_path / "f"
    write_atomic(path, b"one")
    write_atomic(path, b"two")
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"two", 0o644)
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError):
        write_atomic(tmp_path / "taken", b"x")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f", "taken"]


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (3 << 20) + 7])
def test_a_copy_is_hashed_on_the_way(size, tmp_path):
    data = os.urandom(size)
    (tmp_path / "from").write_bytes(data)
    with (tmp_path / "from").open("rb", buffering=0) as source:
        copied = copy_hashed(source, tmp_path / "to")
    assert (tmp_path / "to").read_bytes() == data
    assert (tmp_path / "to").read_bytes() == data
    assert copied == (size, hashlib.sha256(data).hexdigest(), 0)
    with (tmp_path / "from").open("rb", buffering=0) as source:
        assert copy_hashed(source, tmp_path / "again", crc=True).crc32 == zlib.crc32(data)


def test_a_copy_never_overwrites_or_follows_and_stops_at_its_cap(tmp_path):
    (tmp_path / "from").write_bytes(b"x" * 100)
    (tmp_path / "link").symlink_to("target")
    for name in ("from", "link"):
        with (tmp_path / "from").open("rb", buffering=0) as source, pytest.raises(FileExistsError):
            copy_hashed(source, tmp_path / name)
    with (tmp_path / "from").open("rb", buffering=0) as source, pytest.raises(OSError, match="larger"):
        copy_hashed(source, tmp_path / "to", cap=99)
    assert not (tmp_path / "target").exists()


def test_ctrl_c_while_hashing_leaves_no_process(tmp_path):
    root = make_tree(tmp_path / "tree", 4000)
    (root / "large").write_bytes(b"")
    os.truncate(root / "large", 64 << 30)
    script = "import sys\nfrom pathlib import Path\nfrom runbook.digest.tree import digest_tree\n"
    script += "print('go', flush=True)\ndigest_tree(Path(sys.argv[1]))\n"
    with subprocess.Popen(
        [sys.executable, "-c", script, root], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as job:
        assert job.stdout.readline() == b"go\n"
        time.sleep(0.7)
        job.send_signal(2)
        job.communicate(timeout=20)
    assert job.returncode != 0
    workers = [p for p in Path("/proc").glob("[0-9]*/cwd") if _points(p, root)]
    assert workers == []


def _points(link: Path, root: Path) -> bool:
    try:
        return Path(os.readlink(link)) == root
    except OSError:
        return False

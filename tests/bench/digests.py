"""Hashing, unchanged trees, start-up and memory: what needs neither a job nor an engine."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from measure import Contender, Figure, pairs, peak_mib
from trees import Size, Tree, make_repository, make_tree

BIN = Path(sys.executable).parent
_OURS = (
    "import sys; from pathlib import Path; from runbook.digest.tree import digest_tree;"
    "digest_tree(Path(sys.argv[1]))"
)
_CACHED = (
    "import sys; from pathlib import Path; from runbook.digest.statcache import StatCache;"
    "from runbook.digest.tree import digest_tree;"
    "cache = StatCache(Path(sys.argv[2])); digest_tree(Path(sys.argv[1]), cache=cache); cache.save()"
)
_READ = (
    "import os, sys\n"
    "buffer = bytearray(1 << 20)\n"
    "for folder, _, names in os.walk(sys.argv[1]):\n"
    "    for name in names:\n"
    "        with open(os.path.join(folder, name), 'rb', buffering=0) as file:\n"
    "            while file.readinto(buffer): pass\n"
)


def hashing(size: Size, under: Path, runs: int) -> Iterator[Figure]:
    """Hashing one tree, beside openssl, BagIt's own tool and a plain read; peak memory."""
    tree = make_tree(size, under)
    ours = Contender("runbook.digest", (sys.executable, "-c", _OURS, tree.payload))
    peers = [
        (Contender("openssl sha256, 2 processes", _openssl(tree.payload)), 1.3),
        (Contender("bagit.py --validate, 2 processes", _bagit(tree.bag)), None),
        (Contender("plain read, 1 process", (sys.executable, "-c", _READ, tree.payload)), None),
    ]
    yield from pairs(f"hash {size.text}", ours, peers, runs)
    yield _memory(f"peak memory, hash {size.text}", ours)


def unchanged(size: Size, under: Path, runs: int) -> Iterator[Figure]:
    """Looking at an unchanged tree through the stat cache, beside `git status`."""
    tree = make_tree(size, under)
    make_repository(tree)
    cache = tree.bag / "statcache"
    ours = Contender("stat cache", (sys.executable, "-c", _CACHED, tree.payload, cache))
    status = ("git", "status", "--porcelain")
    where = {"GIT_DIR": str(tree.bag / "git"), "GIT_WORK_TREE": str(tree.payload)}
    git = Contender("git status", status, cwd=tree.payload, env=where)
    pairs("  (warming)", ours, [(git, None)], 1)
    yield from pairs(f"unchanged {size.text}", ours, [(git, 3.0)], runs)


def start_up(runs: int) -> Iterator[Figure]:
    """`runbook --version` beside a Python that does nothing."""
    ours = Contender("runbook", (BIN / "runbook", "--version"))
    yield from pairs(
        "runbook --version", ours, [(Contender("python -c pass", (sys.executable, "-c", "pass")), 3.0)], runs
    )


def verifying(size: Size, under: Path, runs: int) -> Iterator[Figure]:
    """`runbook verify` of a bundle that embeds the tree, beside `bagit.py --validate` of the same bundle."""
    bundle = _bundle(make_tree(size, under), under)
    ours = Contender("runbook verify", (BIN / "runbook", "verify", bundle))
    peers = [
        (Contender("bagit.py --validate, 2 processes", _bagit(bundle)), None),
        (
            Contender(
                "sha256sum --check, 1 process",
                ("sha256sum", "--check", "--quiet", "manifest-sha256.txt"),
                cwd=bundle,
            ),
            None,
        ),
    ]
    yield from pairs(f"verify a bundle of {size.text}", ours, peers, runs)
    yield _memory(f"peak memory, verify {size.text}", ours)


def _bundle(tree: Tree, under: Path) -> Path:
    """A bundle with the tree as an embedded input; made once."""
    work = under / f"job-{tree.bag.name}"
    bundle = work / "tree.runbook"
    if not bundle.exists():
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        (work / "job.py").write_text("print('value: 1')\n")
        options = ("--metric", "value=value: ([0-9]+)", "--code", "job.py", "--embed-limit", "64GiB")
        frozen = ("--input", tree.payload, "--capture", "--offline", "-o", bundle)
        job = ("--", sys.executable, "job.py")
        runbook = Contender("run", (BIN / "runbook", "run", *options, *frozen, *job), cwd=work)
        pairs(f"  (capturing {tree.size.text})", runbook, [], 1)
    return bundle


def _memory(what: str, contender: Contender) -> Figure:
    peak = peak_mib(contender)
    return Figure(
        what=what, peer="goal: under 200 MiB", ours=peak, theirs=200, ratio=peak / 200, goal=1.0, unit="MiB"
    )


def _openssl(folder: Path) -> tuple[str, ...]:
    script = 'find "$1" -type f -print0 | xargs -0 -P 2 -n 1000 openssl sha256 >/dev/null'
    return ("sh", "-c", script, "sh", str(folder))


def _bagit(bag: Path) -> tuple[str | Path, ...]:
    return (BIN / "bagit.py", "--validate", "--quiet", "--processes", "2", bag)

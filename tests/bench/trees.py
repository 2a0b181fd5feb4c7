"""Trees to hash: made once, kept under build/bench/ as bags, so that BagIt's own tool works on the same bytes."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Size:
    """So many files of so many bytes."""

    files: int
    bytes: int

    @property
    def text(self) -> str:
        """`20,000 x 50 KiB`."""
        unit, scale = ("GiB", 1 << 30) if self.bytes >= 1 << 30 else ("MiB", 1 << 20)
        if self.bytes < 1 << 20:
            unit, scale = "KiB", 1 << 10
        return f"{self.files:,} x {self.bytes / scale:g} {unit}"


QUICK = (Size(1, 1 << 30), Size(10_000, 50 << 10), Size(50_000, 1 << 10))
FULL = (Size(1, 4 << 30), Size(20_000, 50 << 10), Size(200_000, 1 << 10))


def parse_size(text: str) -> Size:
    """`20000x51200` → files and bytes of each; raises ValueError."""
    files, _, size = text.partition("x")
    return Size(int(files), int(size))


@dataclass(frozen=True)
class Tree:
    """A bag and, inside it, the tree of files."""

    size: Size
    bag: Path

    @property
    def payload(self) -> Path:
        """The files."""
        return self.bag / "data"


def make_tree(size: Size, under: Path) -> Tree:
    """The tree of this size, made by the same seed every time, and bagged by bagit.py."""
    bag = under / f"{size.files}x{size.bytes}"
    if not (bag / "tagmanifest-sha256.txt").exists():
        print(f"  making {size.text} …", file=sys.stderr, flush=True)
        shutil.rmtree(bag, ignore_errors=True)
        noise = random.Random(size.files)
        for number in range(size.files):
            path = bag / f"{number // 1000:04d}" / f"{number:07d}.bin"
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                for left in range(size.bytes, 0, -(1 << 24)):
                    file.write(noise.randbytes(min(left, 1 << 24)))
        tool = Path(sys.executable).parent / "bagit.py"
        subprocess.run([tool, "--quiet", "--sha256", "--processes", "2", bag], check=True)
    return Tree(size, bag)


def make_repository(tree: Tree) -> None:
    """Make the payload a git checkout with everything committed, for `git status`."""
    if (tree.bag / "git" / "HEAD").exists():
        return
    print(f"  git add {tree.size.text} …", file=sys.stderr, flush=True)
    git = ["git", "-c", "core.fsync=none", "-c", "gc.auto=0", "-c", "user.name=b", "-c", "user.email=b@b.example"]
    env = {**os.environ, "GIT_DIR": str(tree.bag / "git"), "GIT_WORK_TREE": str(tree.payload)}
    for arguments in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "-m", "all"]):
        subprocess.run([*git, *arguments], env=env, check=True)

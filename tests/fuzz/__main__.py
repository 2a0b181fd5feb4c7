"""`make fuzz`: every reader for longer, guided by coverage where atheris is installed.

    python -m tests.fuzz [--seconds N] [--keep DIR] [TARGET…]

Each target runs in a process of its own for N seconds (60). What breaks a promise, hangs for 20 s or needs more
than 2 GiB is written below DIR (build/fuzz) and named; the exit code is then 1. Without atheris the same targets
are driven by Hypothesis, which is said.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path

_GUIDED = importlib.util.find_spec("atheris") is not None
_HANG_S = 20
_MEMORY_MB = 2048


def main() -> int:
    """Run the targets one after another and print a table."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--keep", type=Path, default=Path("build/fuzz"))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("targets", nargs="*")
    asked = parser.parse_args()
    if asked.one:
        return _guided(asked.one, asked.seconds, asked.keep) if _GUIDED else _plain(asked.one, asked.seconds)
    from tests.fuzz.targets import targets

    names = asked.targets or list(targets())
    how = "atheris, guided by coverage" if _GUIDED else "Hypothesis alone: pip install atheris guides by coverage"
    print(f"{len(names)} readers, {asked.seconds} s each; {how}", flush=True)
    broken = [name for name in names if not _run(name, asked.seconds, asked.keep)]
    print(f"{len(names)} readers, broken promises: {len(broken)} {' '.join(broken)}")
    return 1 if broken else 0


def _run(name: str, seconds: int, keep: Path) -> bool:
    folder = keep / name
    (folder / "corpus").mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    command = [sys.executable, "-m", "tests.fuzz", "--one", name, "--seconds", str(seconds), "--keep", str(keep)]
    log = folder / "log.txt"
    with log.open("wb") as sink:
        code = subprocess.run(command, stdout=sink, stderr=subprocess.STDOUT, check=False).returncode
    told = log.read_text(errors="replace")
    count = next((line.split()[1] for line in reversed(told.splitlines()) if line.startswith("Done ")), "?")
    word = "kept" if code == 0 else "BROKEN"
    print(f"  {word:<7} {name:<24} {count:>9} inputs in {time.monotonic() - began:4.0f} s", flush=True)
    if code:
        print("\n".join(f"      {line}" for line in told.splitlines()[-25:]), flush=True)
    return code == 0


def _guided(name: str, seconds: int, keep: Path) -> int:
    import atheris

    with atheris.instrument_imports(include=["runbook"]):
        from tests.fuzz.targets import targets

        target = targets()[name]
        for seed in target.seeds:
            target.try_one(seed)  # Loads what the reader imports only when it is used.
    folder = keep / name
    for number, seed in enumerate(target.seeds):
        (folder / "corpus" / f"seed-{number}").write_bytes(seed)
    words = folder / "words"
    from tests.fuzz.mutate import TOKENS

    lines = {"".join(f"\\x{byte:02x}" for byte in token[:64]) for token in TOKENS if token}
    words.write_text("".join(f'"{line}"\n' for line in sorted(lines)))
    longest = 4 * max(4096, *(len(seed) for seed in target.seeds))
    options = [
        f"-max_total_time={seconds}",
        f"-timeout={_HANG_S}",
        f"-rss_limit_mb={_MEMORY_MB}",
        f"-max_len={longest}",
        f"-dict={words}",
        f"-artifact_prefix={folder}{os.sep}",
        "-print_final_stats=1",
        "-verbosity=1",
    ]
    atheris.Setup([sys.argv[0], *options, str(folder / "corpus")], target.try_one)
    atheris.Fuzz()
    return 0


def _plain(name: str, seconds: int) -> int:
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st

    from tests.fuzz.mutate import mutated
    from tests.fuzz.targets import targets

    target, until, tried = targets()[name], time.monotonic() + seconds, 0

    @settings(max_examples=2000, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(mutated(target.seeds) | st.binary(max_size=400))
    def check(data: bytes) -> None:
        nonlocal tried
        tried += 1
        target.try_one(data)

    while time.monotonic() < until:
        check()
    print(f"Done {tried}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

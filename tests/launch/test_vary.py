"""What a replay changes inside the job on purpose, listings and the clock: everywhere, and never unless asked."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook.launch import watch as watching
from runbook.launch.watch import prepare, read_watch
from runbook.launch.watched import Fold
from runbook.model.watch import Watched
from tests.launch.watching import PYTHON, environment, script

sys.path.insert(0, str(Path(watching.__file__).parent / "inside"))
import _runbook_vary

sys.path.pop(0)

JOB = """
import datetime, glob, json, logging, os, pathlib, pickle, sys, time, warnings
from datetime import datetime as moment, timezone
from time import time as now
warnings.simplefilter("ignore")

class Clock:
    read = time.time
    convert = time.localtime

class Later(moment):
    pass

folder = sys.argv[1]
before = time.clock_gettime(time.CLOCK_MONOTONIC)
with os.scandir(folder) as entries:
    scanned = [entry.name for entry in entries]
print(json.dumps({
    "listings": [
        os.listdir(folder),
        scanned,
        [os.fsdecode(name) for name in os.listdir(os.fsencode(folder))],
        os.listdir(os.open(folder, os.O_RDONLY)),
        [os.path.basename(path) for path in glob.glob(folder + "/*")],
        [path.name for path in pathlib.Path(folder).iterdir()],
        next(os.walk(folder))[2],
    ],
    "years": [
        time.gmtime().tm_year, time.localtime(None).tm_year, int(time.strftime("%Y")), int(time.ctime()[-4:]),
        int(time.asctime()[-4:]), moment.now().year, moment.now(timezone.utc).year, moment.utcnow().year,
        datetime.datetime.today().year, datetime.date.today().year, Later.now().year, Later.utcnow().year,
        time.gmtime(now()).tm_year, time.gmtime(time.time_ns() // 10**9).tm_year,
        time.gmtime(time.clock_gettime(time.CLOCK_REALTIME)).tm_year, Clock().convert().tm_year,
        time.gmtime(Clock().read()).tm_year, time.gmtime(logging.makeLogRecord({}).created).tm_year,
    ],
    "fixed": [time.gmtime(0).tm_year, time.strftime("%Y", time.gmtime(0)), time.ctime(0)[-4:]],
    "types": [
        type(moment.now()) is moment, type(Later.now()) is Later, os.scandir in os.supports_fd,
        pickle.loads(pickle.dumps(time.time)) is time.time, pickle.loads(pickle.dumps(os.listdir)) is os.listdir,
        moment.now(timezone.utc).tzinfo is timezone.utc,
    ],
    "monotonic": 0 <= time.monotonic() - before < 60,
}))
"""


def run(
    folder: Path, vary: str, *, env: dict[str, str] | None = None, python: str = PYTHON
) -> tuple[dict, Watched]:
    """The job's answer under a change, and what was seen of it."""
    data = folder / "data"
    data.mkdir(exist_ok=True)
    for name in "abcdef":
        (data / name).touch()
    watched = folder / f"watch-{vary}"
    variables = prepare(watched, environment(env) | {"TZ": "UTC"}, vary=vary)
    command = [python, str(script(folder, JOB)), str(data)]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout), read_watch(watched)


def test_nothing_is_changed_unless_it_is_asked_for(tmp_path: Path) -> None:
    said, seen = run(tmp_path, "", env={"RUNBOOK_VARY": "order,time"})
    assert seen.varied == {}
    assert len(set(said["years"])) == 1
    assert said["listings"][0] == [entry.name for entry in (tmp_path / "data").iterdir()]


def test_every_way_to_list_a_folder_gives_the_same_other_order(tmp_path: Path) -> None:
    plain, _ = run(tmp_path, "")
    said, seen = run(tmp_path, "order")
    assert len({tuple(listing) for listing in said["listings"]}) == 1
    assert said["listings"][0] != plain["listings"][0]
    assert sorted(said["listings"][0]) == list("abcdef")
    assert seen.varied["order"] >= 7
    assert all(said["types"])
    assert said["years"] == plain["years"]
    assert run(tmp_path, "order")[0]["listings"] == said["listings"]


def test_every_way_to_read_the_clock_is_ahead_and_the_types_stay(tmp_path: Path) -> None:
    plain, _ = run(tmp_path, "")
    said, seen = run(tmp_path, "time")
    (year,) = set(said["years"])
    assert year - plain["years"][0] in (1, 2)
    assert said["fixed"] == plain["fixed"] == [1970, "1970", "1970"]
    assert all(said["types"])
    assert said["monotonic"]
    assert seen.varied["time"] > 0
    assert seen.lost == ()
    assert said["listings"] == plain["listings"]


def test_a_job_that_never_asks_does_not_meet_the_change(tmp_path: Path) -> None:
    for vary in ("order", "time"):
        variables = prepare(tmp_path / vary, environment(), vary=vary)
        subprocess.run([PYTHON, "-c", "print(1)"], env=variables, capture_output=True, check=True)
        assert read_watch(tmp_path / vary).varied == {}


def test_children_meet_it_too(tmp_path: Path) -> None:
    text = (
        "import multiprocessing as m, subprocess, sys, time\n"
        "def year(_): return time.gmtime().tm_year\n"
        "if __name__ == '__main__':\n"
        "    with m.get_context('fork').Pool(1) as pool: print(pool.map(year, [0])[0])\n"
        "    code = 'import time; print(time.gmtime().tm_year)'\n"
        "    print(subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout.strip())\n"
        "    print(time.gmtime().tm_year)\n"
    )
    variables = prepare(tmp_path / "watch", environment(), vary="time")
    done = subprocess.run([PYTHON, str(script(tmp_path, text))], env=variables, capture_output=True, check=True)
    assert len(set(done.stdout.split())) == 1


def test_a_log_that_claims_other_changes_is_not_believed() -> None:
    fold = Fold()
    fold.add(1, b"P", [b"1", b"7", b"", b"start", b"0", b"3.11.7", b"/python", b"/", b"/watch/"])
    for name, count in ((b"order", b"4"), (b"order", b"8"), (b"moon", b"3"), (b"time", b"x")):
        fold.add(1, b"B", [count, name])
    found = fold.result()
    assert found.varied == {"order": 8}
    assert found.lost  # The last is no number.


@pytest.mark.parametrize("names", ["", "nothing", "order,nothing"])
def test_what_is_unknown_changes_nothing(tmp_path: Path, names: str) -> None:
    variables = prepare(tmp_path / "watch", environment(), vary=names)
    code = "import time; print(time.gmtime().tm_year < 3000)"
    done = subprocess.run([PYTHON, "-c", code], env=variables, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("True\n", "")


@given(st.lists(st.text(min_size=1).filter(lambda name: name.isprintable()), unique=True))
def test_a_shuffled_listing_is_never_the_one_that_came_and_depends_on_names_alone(names: list[str]) -> None:
    found = _runbook_vary.shuffled(names, str)
    assert sorted(found) == sorted(names)
    assert len(names) < 2 or found != names
    other = _runbook_vary.shuffled(names[::-1], str)
    assert len(names) < 2 or other != names[::-1]


def test_numbered_names_are_well_mixed() -> None:
    names = [f"image_{number:04}.png" for number in range(1000)]
    found = _runbook_vary.shuffled(names, str)
    places = {name: place for place, name in enumerate(found)}
    steps = [places[b] - places[a] for a, b in pairwise(names)]
    assert sum(step > 0 for step in steps) in range(440, 560)
    assert sum(abs(step) < 10 for step in steps) < 60

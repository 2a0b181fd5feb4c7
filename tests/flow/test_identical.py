"""A job gives the same to the last bit whether it is watched or not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.flow.conftest import Project

NUMERIC = """
import json, random, warnings
import numpy as np

random.seed(3)
np.random.seed(4)
generator = np.random.default_rng(5)
X = generator.normal(size=(400, 20))
y = X @ np.random.normal(size=20) + np.array([random.gauss(0, 0.1) for _ in range(400)])
weights, curve = np.zeros(20), []
for step in range(50):
    rows = generator.choice(400, 64, replace=False)
    error = X[rows] @ weights - y[rows]
    weights -= 0.05 * X[rows].T @ error / 64
    curve.append(float(np.mean(error**2)).hex())
print("loss:", curve[-1])
warnings.warn("on standard error")
np.save("weights.npy", weights)
with open("metrics.json", "w") as file:
    json.dump({"curve": curve, "state": random.random(), "legacy": np.random.get_state()[1].tolist()}, file)
"""


def test_a_numeric_job_gives_the_same_bits_watched_and_not(project: Project) -> None:
    project = Project(project.folder, Path(sys.executable), project.home)  # The tests' own has numpy.
    project.write("train.py", NUMERIC)
    plain = subprocess.run(
        [project.python, "train.py"], cwd=project.folder, capture_output=True, text=True, check=True
    )
    expected = taken(project.folder)
    watched = project.runbook("run", "--", str(project.python), "train.py")
    assert (watched.code, watched.out) == (0, plain.stdout), watched.err
    assert watched.err.startswith(plain.stderr)
    assert taken(project.folder) == expected
    seeds = {seed["name"] for seed in project.runbook("show", "last", "--json").json["seeds"]}
    assert {"random.seed", "numpy.random.seed", "numpy.random.default_rng"} <= seeds


def taken(folder: Path) -> dict[str, bytes]:
    """What the job wrote, taken away."""
    found = {}
    for name in ("weights.npy", "metrics.json"):
        found[name] = (folder / name).read_bytes()
        (folder / name).unlink()
    return found

"""The public training scripts that `make cases` runs unedited: what they really do, and what must come out.

What is expected of each was read in the scripts themselves, not in runbook's answers.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Case:
    """One script of somebody else's, at one commit, run with no option but a time limit."""

    name: str
    repository: str
    """OWNER/NAME on GitHub; NAME is also the folder's name in CASES_DIR."""
    commit: str
    """Full commit id."""
    folder: str
    """Where the command runs, relative to the checkout."""
    argv: tuple[str, ...]
    """The command; `python` is the job's own."""
    requirements: tuple[str, ...]
    """What the script imports, for pip."""
    inputs: frozenset[str]
    """Paths that the script reads as data, relative to the checkout."""
    metrics: frozenset[str]
    """Names of results that it prints or logs, which must be among those found."""
    outputs: frozenset[str] = frozenset()
    """Files that it writes, relative to the checkout, which must be among those found."""
    seeds: frozenset[tuple[str, str]] = frozenset()
    """(function, value) of the seeding calls in the script."""
    findings: tuple[tuple[str, str], ...] = ()
    """(id, part of the text) of findings that there must be."""
    parts: tuple[str, ...] = ()
    """Folders of a large repository that are checked out; none: all."""
    env: dict[str, str] = field(default_factory=dict)
    """Environment variables of the run; they must be in the record."""
    time_limit: float | None = None
    """Seconds, for the run and the replay."""
    run_exit: int = 0
    """The job's own exit code."""
    verdicts: frozenset[str] = frozenset(("identical",))
    """Overall verdicts that the replay may give."""
    exit_codes: frozenset[int] = frozenset((0,))
    """Exit codes that the replay may end with."""
    says: str = ""
    """What the replay's report must say."""


TORCH = "torch==2.13.0"
SEQUENCE = ("sh", "-c", "python generate_sine_wave.py && python train.py --steps 1")

CASES = (
    Case(
        name="A1 LightGBM simple_example",
        repository="microsoft/LightGBM",
        commit="bae0b7ba953341a32b2a9c5c5c437a1b976f576f",
        folder="examples/python-guide",
        argv=("python", "simple_example.py"),
        requirements=("lightgbm", "pandas", "scikit-learn"),
        inputs=frozenset(("examples/regression/regression.train", "examples/regression/regression.test")),
        outputs=frozenset(("examples/python-guide/model.txt",)),
        metrics=frozenset(("RMSE of prediction",)),
        findings=(("no-seed-seen", ""), ("not-seen", "lightgbm")),
    ),
    Case(
        name="A2 makemore",
        repository="karpathy/makemore",
        commit="988aa59e4d8fefa526d06f3b453ad116258398d4",
        folder=".",
        argv=("python", "makemore.py", "--max-steps", "501", "-n", "0"),
        requirements=(TORCH, "tensorboard", "numpy"),
        inputs=frozenset(("names.txt",)),
        outputs=frozenset(("out/model.pt",)),
        metrics=frozenset(("Loss/train", "Loss/test")),
        seeds=frozenset((("torch.manual_seed", "3407"),)),
        findings=(("package-undeclared", "tensorboard"),),
    ),
    Case(
        name="A3 MLflow wine quality",
        repository="mlflow/mlflow-example",
        commit="0651d1c962aa35e4dd02608c51a7b0efc2412407",
        folder=".",
        argv=("python", "train.py"),
        requirements=("mlflow", "pandas", "numpy", "scikit-learn"),
        inputs=frozenset(("wine-quality.csv",)),
        metrics=frozenset(("rmse", "mae", "r2")),
        seeds=frozenset((("numpy.random.seed", "40"), ("sklearn random_state", "42"))),
    ),
    Case(
        name="A4 time sequence, as it is",
        repository="pytorch/examples",
        commit="77f55b912142e11fcfdf5b530231fb9c52f181e8",
        folder="time_sequence_prediction",
        parts=("time_sequence_prediction",),
        argv=SEQUENCE,
        requirements=(TORCH, "numpy", "matplotlib"),
        inputs=frozenset(),
        metrics=frozenset(),
        seeds=frozenset((("numpy.random.seed", "2"), ("numpy.random.seed", "0"), ("torch.manual_seed", "0"))),
        findings=(("requirement-unmet", "torch<2.6"),),
        run_exit=1,
        verdicts=frozenset(("none",)),
        exit_codes=frozenset((3,)),
        says="weights_only",
    ),
    Case(
        name="A4 time sequence, with its variable",
        repository="pytorch/examples",
        commit="77f55b912142e11fcfdf5b530231fb9c52f181e8",
        folder="time_sequence_prediction",
        parts=("time_sequence_prediction",),
        argv=SEQUENCE,
        requirements=(TORCH, "numpy", "matplotlib"),
        env={"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1", "MPLBACKEND": "Agg"},
        inputs=frozenset(),
        outputs=frozenset(("time_sequence_prediction/traindata.pt", "time_sequence_prediction/predict0.pdf")),
        metrics=frozenset(("test loss",)),
        seeds=frozenset((("numpy.random.seed", "2"), ("numpy.random.seed", "0"), ("torch.manual_seed", "0"))),
        findings=(("requirement-unmet", "torch<2.6"),),
    ),
    Case(
        name="A5 regression without a seed",
        repository="pytorch/examples",
        commit="77f55b912142e11fcfdf5b530231fb9c52f181e8",
        folder="regression",
        parts=("regression",),
        argv=("python", "main.py"),
        requirements=(TORCH, "numpy"),
        inputs=frozenset(),
        metrics=frozenset(("Loss",)),
        findings=(("no-seed-seen", ""), ("used-unseeded", "torch")),
        verdicts=frozenset(("different", "inconclusive", "not comparable")),
        exit_codes=frozenset((1, 7)),
        says="no seed",
    ),
    Case(
        name="A6 REINFORCE",
        repository="pytorch/examples",
        commit="77f55b912142e11fcfdf5b530231fb9c52f181e8",
        folder="reinforcement_learning",
        parts=("reinforcement_learning",),
        argv=("python", "reinforce.py"),
        requirements=(TORCH, "numpy", "gymnasium[classic-control]"),
        inputs=frozenset(),
        metrics=frozenset(("Average reward", "Last reward")),
        seeds=frozenset((("torch.manual_seed", "543"),)),
    ),
)

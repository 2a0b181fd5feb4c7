"""The public training scripts that `make cases` runs unedited: where, how, and what must come out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """One script of somebody else's, at one commit."""

    name: str
    repository: str
    """OWNER/NAME on GitHub; NAME is also the folder's name in CASES_DIR."""
    commit: str
    """Full commit id."""
    folder: str
    """Where the command runs, relative to the checkout."""
    argv: tuple[str, ...]
    """The command after the interpreter."""
    requirements: tuple[str, ...]
    """What the script imports, for pip."""
    metrics: dict[str, str]
    """Metric → regular expression on standard output with one group."""
    inputs: tuple[str, ...] = ()
    """Data to declare, relative to `folder`."""
    code: tuple[str, ...] = (".",)
    """`--code` paths, relative to `folder`: the script's own part of a large repository."""
    env: tuple[tuple[str, str], ...] = ()
    """Environment variables of the run."""
    verdict: str = "identical"
    """The overall verdict that the replay must give."""
    exit_code: int = 0
    """The exit code of the replay."""


NUMBER = r"([-+0-9.eE]+)"

CASES = (
    Case(
        name="A1 LightGBM simple_example",
        repository="microsoft/LightGBM",
        commit="bae0b7ba953341a32b2a9c5c5c437a1b976f576f",
        folder="examples/python-guide",
        argv=("simple_example.py",),
        requirements=("lightgbm", "pandas", "scikit-learn"),
        metrics={"rmse": rf"The RMSE of prediction is: {NUMBER}"},
        inputs=("../regression/regression.train", "../regression/regression.test"),
    ),
    Case(
        name="A3 MLflow wine quality",
        repository="mlflow/mlflow-example",
        commit="0651d1c962aa35e4dd02608c51a7b0efc2412407",
        folder=".",
        argv=("train.py",),
        requirements=("mlflow", "pandas", "numpy", "scikit-learn"),
        metrics={"rmse": rf"RMSE: {NUMBER}", "mae": rf"MAE: {NUMBER}", "r2": rf"R2: {NUMBER}"},
        inputs=("wine-quality.csv",),
    ),
)

"""The planted causes: each makes side B from side A, which is the same job before it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tests.causes.side import Side, changed_packages, other_python

Change = Callable[[Side], None]
Job = Literal["flats", "net"]


@dataclass(frozen=True)
class Factor:
    """What was planted, as `runbook diff --json` names it: a difference's family, and what its `what` holds."""

    family: str
    what: str = ""


@dataclass(frozen=True)
class Cause:
    """One pair of runs and what is known to lie between them."""

    name: str
    job: Job
    plant: Change
    """Makes side B of what is side A otherwise."""
    causes: tuple[Factor, ...] = ()
    """What moves the result, all of it."""
    decoys: tuple[Factor, ...] = ()
    """What was changed besides and moves nothing."""
    signs: tuple[Factor, ...] = ()
    """What else the record shows of the same causes: the seed that another line of code asks for."""
    both: Change | None = None
    """Done to both sides before."""
    moves: bool = True
    """Whether the result differs."""
    needs: Callable[[], bool] = lambda: True
    """Whether this machine can plant it."""


def does(*changes: Change) -> Change:
    """One change after the other."""

    def all_of_them(side: Side) -> None:
        for change in changes:
            change(side)

    return all_of_them


def edit(path: str, old: str, new: str) -> Change:
    """Other code."""
    return lambda side: side.edit(path, old, new)


def variable(name: str, value: str) -> Change:
    """Another value of an environment variable."""
    return lambda side: side.env.update({name: value})


def argument(*words: str) -> Change:
    """More words on the command line."""
    return lambda side: side.argv.extend(words)


def packages(*requirements: str) -> Change:
    """Other packages."""

    def install(side: Side) -> None:
        side.python = lambda: changed_packages(side.job, *requirements)

    return install


def python(version: str) -> Change:
    """Another Python, and so another base."""

    def use(side: Side) -> None:
        found = other_python(version)
        assert found is not None
        side.python = lambda: found

    return use


def nothing(side: Side) -> None:
    """The same again."""


def another_price(side: Side) -> None:
    """One flat costs another price: the row of line 58, id 56."""

    def change(lines: list[str]) -> None:
        lines[57] = lines[57].rpartition(",")[0] + ",333.33\n"

    side.lines("flats.csv", change)


def other_row_order(side: Side) -> None:
    """The same flats, turned around."""

    def change(lines: list[str]) -> None:
        lines[1:] = lines[:0:-1]

    side.lines("flats.csv", change)


def another_point(side: Side) -> None:
    """One point is elsewhere: line 11 of one part."""

    def change(lines: list[str]) -> None:
        lines[10] = "9.0,9.0,9.0,9.0,9.0,9.0," + lines[10].rpartition(",")[2]

    side.lines("parts/3.csv", change)


def to_memory(side: Side) -> None:
    """Where the listing order of a folder is that of the making of its files."""
    side.to_memory()
    side.remake("market" if side.job == "flats" else "parts", backwards=False)


def made_backwards(side: Side) -> None:
    """The same files under the same names, made in another order."""
    side.remake("market" if side.job == "flats" else "parts", backwards=True)


def other_names(side: Side) -> None:
    """The same months under each other's names."""
    first, last = (side.folder / f"market/{month}.txt" for month in ("01", "08"))
    a, b = first.read_text(), last.read_text()
    first.write_text(b)
    last.write_text(a)


SEEDLESS = argument("--seed", "-1")

DATA, PARTS = Factor("data", "flats.csv"), Factor("data", "parts")
CODE = Factor("code", "train.py")
HASH_SEED = Factor("seed", "PYTHONHASHSEED")
THREADS = Factor("threads", "OMP_NUM_THREADS")
SEED = Factor("seed", "--seed")
COMMENT = edit("train.py", "def main():", "# The way in.\ndef main():")
READ_ME = edit("README.md", "?", "? Or where?")

CAUSES: tuple[Cause, ...] = (
    # One cause.
    Cause("package", "flats", packages("scikit-learn==1.7.2"), (Factor("lock", "scikit-learn"),)),
    Cause("row", "flats", another_price, (DATA,)),
    Cause("row", "net", another_point, (PARTS,)),
    Cause("row-order", "flats", other_row_order, (DATA,)),
    Cause(
        "seed",
        "flats",
        argument("--seed", "8"),
        (SEED,),
        signs=(Factor("seed", "numpy.random"), Factor("argv", "seed")),
    ),
    Cause(
        "seed",
        "net",
        argument("--seed", "8"),
        (SEED,),
        signs=(Factor("seed", "torch.manual_seed"), Factor("argv", "seed")),
    ),
    Cause(
        "seed-in-code",
        "net",
        edit("train.py", "default=7", "default=8"),
        (CODE,),
        signs=(Factor("seed", "torch.manual_seed"), Factor("argv", "seed")),
    ),
    Cause("constant", "flats", edit("train.py", "DEPTH = 3", "DEPTH = 4"), (CODE,)),
    Cause("constant", "net", edit("train.py", "RATE = 0.05", "RATE = 0.049"), (CODE,)),
    Cause(
        "module", "flats", edit("encode.py", "set(towns)", "sorted(set(towns))"), (Factor("code", "encode.py"),)
    ),
    Cause(
        "module",
        "net",
        edit("layers.py", "Linear(inputs, width), torch.nn.Tanh()", "Linear(inputs, width), torch.nn.ReLU()"),
        (Factor("code", "layers.py"),),
    ),
    Cause("float-type", "flats", edit("train.py", "FLOAT = np.float64", "FLOAT = np.float32"), (CODE,)),
    Cause("float-type", "net", edit("train.py", "DTYPE = torch.float32", "DTYPE = torch.float64"), (CODE,)),
    Cause("threads", "flats", variable("OMP_NUM_THREADS", "2"), (THREADS,)),
    Cause("threads", "net", variable("OMP_NUM_THREADS", "2"), (THREADS,)),
    Cause("variable", "flats", variable("PRICE_CAP", "500"), (Factor("variable", "PRICE_CAP"),)),
    Cause("variable", "net", variable("TRAIN_MOMENTUM", "0.8"), (Factor("variable", "TRAIN_MOMENTUM"),)),
    Cause("argument", "flats", argument("--rounds", "21"), (Factor("argv", "rounds"),)),
    Cause("argument", "net", argument("--width", "17"), (Factor("argv", "width"),)),
    Cause("listing", "flats", made_backwards, (Factor("order", "market"),), both=to_memory),
    Cause("listing", "net", made_backwards, (Factor("order", "parts"),), both=to_memory),
    Cause("names", "flats", other_names, (Factor("data", "market"),)),
    Cause("hash-seed", "flats", variable("PYTHONHASHSEED", "1"), (HASH_SEED,)),
    Cause("hash-seed", "net", variable("PYTHONHASHSEED", "2"), (HASH_SEED,)),
    Cause(
        "locale",
        "flats",
        variable("LC_ALL", "C"),
        (Factor("variable", "LC_ALL"),),
        signs=(Factor("host", "locale"),),
    ),
    Cause(
        "base",
        "flats",
        python("3.12"),
        (Factor("interpreter", "Python"),),
        signs=(Factor("interpreter"), Factor("base"), Factor("argv", "command")),
        needs=lambda: other_python("3.12") is not None,
    ),
    # Two at once.
    Cause("row+constant", "flats", does(another_price, edit("train.py", "DEPTH = 3", "DEPTH = 4")), (DATA, CODE)),
    Cause(
        "seed+variable",
        "net",
        does(argument("--seed", "8"), variable("TRAIN_MOMENTUM", "0.8")),
        (SEED, Factor("variable", "TRAIN_MOMENTUM")),
        signs=(Factor("seed", "torch.manual_seed"), Factor("argv", "seed")),
    ),
    Cause(
        "hash-seed+threads",
        "net",
        does(variable("PYTHONHASHSEED", "2"), variable("OMP_NUM_THREADS", "2")),
        (HASH_SEED, THREADS),
    ),
    Cause(
        "package+row-order",
        "flats",
        does(packages("scikit-learn==1.7.2"), other_row_order),
        (Factor("lock", "scikit-learn"), DATA),
    ),
    # One cause among much that changed and does not matter.
    Cause(
        "threads-among-others",
        "net",
        does(
            variable("OMP_NUM_THREADS", "2"),
            COMMENT,
            READ_ME,
            variable("TRAIN_COLOUR", "red"),
            packages("markupsafe==3.0.2", "colorama==0.4.6"),
        ),
        (THREADS,),
        (Factor("code"), Factor("variable", "TRAIN_COLOUR"), Factor("lock")),
    ),
    Cause(
        "row-among-others",
        "flats",
        does(another_price, COMMENT, READ_ME, edit("plots.py", "blue", "red"), packages("packaging==25.0")),
        (DATA,),
        (Factor("code"), Factor("lock", "packaging")),
    ),
    # What does not matter.
    Cause("comment", "flats", COMMENT, decoys=(Factor("code"),), moves=False),
    Cause(
        "docstring",
        "net",
        edit("layers.py", "The network.", "The networks."),
        decoys=(Factor("code"),),
        moves=False,
    ),
    Cause("read-me", "net", READ_ME, decoys=(Factor("code"),), moves=False),
    Cause("unused-module", "flats", edit("plots.py", "blue", "red"), decoys=(Factor("code"),), moves=False),
    Cause(
        "unused-module",
        "net",
        edit("evaluate.py", "right / total", "total / right"),
        decoys=(Factor("code"),),
        moves=False,
    ),
    Cause(
        "unused-package",
        "flats",
        packages("packaging==25.0"),
        decoys=(Factor("lock", "packaging"),),
        both=packages("packaging==24.2"),
        moves=False,
    ),
    Cause(
        "unread-variable",
        "net",
        variable("TRAIN_COLOUR", "red"),
        decoys=(Factor("variable", "TRAIN_COLOUR"),),
        moves=False,
    ),
    # No cause that a record can hold.
    Cause("same-again", "flats", nothing, moves=False),
    Cause("same-again", "net", nothing, moves=False),
    Cause("time-of-day", "flats", nothing, both=argument("--dated")),
    Cause("no-seed", "flats", nothing, both=SEEDLESS),
    Cause("no-seed", "net", nothing, both=SEEDLESS),
)
"""A name and a job name one."""

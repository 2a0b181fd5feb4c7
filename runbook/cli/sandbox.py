"""How a bundle's job is run: options that the verbs share which replay one, and how such a verb is ended."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

import click

from runbook.cli.options import data_places
from runbook.errors import Terminated, UsageError

if TYPE_CHECKING:
    from runbook.flow.replay import Choices

F = TypeVar("F", bound=Callable[..., Any])

_SANDBOX = (
    click.option(
        "--engine",
        default="auto",
        help="docker, podman, local … [auto: a sandbox, docker first; else local, if you captured it]",
    ),
    click.option(
        "--data", multiple=True, metavar="NAME=PATH", help="Where a referenced input lies: a path here, or a URL."
    ),
    click.option("--allow-network", is_flag=True, help="A visible weakening: the job may reach the network."),
    click.option(
        "--offline", is_flag=True, help="Ask no index, registry or place of data; use the bundle and the caches."
    ),
    click.option("--despite", multiple=True, metavar="CHECK", help="Replay although this check of --plan fails."),
    click.option("--memory", metavar="SIZE", help="Memory limit of the job."),
    click.option("--cpus", type=float, help="CPU limit of the job."),
    click.option("--time-limit", type=float, metavar="SECONDS", help="Stop the job after so long."),
)
_SEEDS = (
    click.option(
        "--seeds", "chosen", metavar="N,N…", help="Seeds to set, one for each repeat, where the job declares one."
    ),
    click.option("--draw-seeds", is_flag=True, help="Let runbook draw the seeds: nobody chose them."),
)


def sandboxing(command: F) -> F:
    """Add the options that say how the job is run."""
    for option in reversed(_SANDBOX):
        command = option(command)
    return command


def seeding(command: F) -> F:
    """Add the options that say which seeds the repeats have."""
    for option in reversed(_SEEDS):
        command = option(command)
    return command


def choices_of(sandbox: dict[str, Any]) -> Choices:
    """How to run the job, from the options that say so."""
    from runbook import config
    from runbook.engine.interface import Limits
    from runbook.flow.replay import Choices

    memory = sandbox["memory"]
    return Choices(
        engine=sandbox["engine"],
        data=data_places(sandbox["data"]),
        limits=Limits(
            memory_bytes=None if memory is None else config.parse_size(memory),
            cpus=sandbox["cpus"],
            time_s=sandbox["time_limit"],
        ),
        network=sandbox["allow_network"],
        offline=sandbox["offline"],
        despite=sandbox["despite"],
    )


@contextmanager
def cleaning_up() -> Iterator[None]:
    """Let SIGTERM end a replay as Ctrl-C does, so that no container stays behind; an ignored one stays ignored."""
    before = signal.getsignal(signal.SIGTERM)
    if before is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise Terminated


def seeds_of(text: str | None) -> tuple[int, ...]:
    """The seeds of `1,2,3`. Raises UsageError."""
    try:
        found = tuple(int(part) for part in text.split(",")) if text else ()
        if any(not 0 <= seed < 2**32 for seed in found):
            raise ValueError
    except ValueError:
        hint = "whole numbers from 0 to 4294967295: --seeds 1,2,3"
        raise UsageError("not seeds", text, hint=hint, id="seeds") from None
    return found

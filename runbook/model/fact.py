"""A fact carries its evidence, or the reason why it is missing. Never blank, never guessed."""

from __future__ import annotations

from typing import Generic, Literal, TypeVar

import msgspec

T = TypeVar("T")

Evidence = Literal["observed", "declared", "inferred", "missing"]


class Value(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Base of every value in a record: immutable, keyword-only, unknown fields refused."""


class Fact(Value, Generic[T], frozen=True, kw_only=True, omit_defaults=True):
    """Either a value with how it is known, or `missing` with a reason."""

    evidence: Evidence
    value: T | None = None
    reason: str = ""

    def __post_init__(self) -> None:
        if self.evidence == "missing":
            if self.value is not None or not self.reason:
                raise ValueError("a missing fact has a reason and no value")
        elif self.value is None:
            raise ValueError(f"a fact that is {self.evidence} has a value")

    @property
    def known(self) -> bool:
        """True unless the fact is missing."""
        return self.evidence != "missing"

    def text(self) -> str:
        """The value for a person, or `missing (reason)`."""
        return str(self.value) if self.known else f"missing ({self.reason})"


def observed(value: T) -> Fact[T]:
    """A fact that runbook saw itself."""
    return Fact(evidence="observed", value=value)


def declared(value: T) -> Fact[T]:
    """A fact that somebody stated."""
    return Fact(evidence="declared", value=value)


def inferred(value: T, reason: str = "") -> Fact[T]:
    """A fact concluded from others; `reason` says from what."""
    return Fact(evidence="inferred", value=value, reason=reason)


def missing(reason: str) -> Fact[T]:
    """A fact that could not be had, and why."""
    return Fact(evidence="missing", reason=reason)

"""What a comparison says of the files that a job wrote: a verdict of their own, beside that of the metrics."""

from __future__ import annotations

from typing import Final, Literal

from runbook.model.fact import Value
from runbook.model.metric import Number, brief

ArtifactVerdict = Literal["identical bytes", "same content", "bytes differ", "different", "on one side only"]
"""`same content`: other bytes that hold the same; `bytes differ`: whether the content does, could not be seen."""

ORDER: Final[tuple[ArtifactVerdict, ...]] = (
    "identical bytes",
    "same content",
    "bytes differ",
    "different",
    "on one side only",
)
"""From the strongest to the weakest: the verdict over several is the weakest."""

TEXT_CAP: Final = 120
"""Characters of a value or a name that is shown."""
PARTS_CAP: Final = 20
"""Parts of one artifact that are named; all are counted."""


def short(text: str) -> str:
    """The text, cut where it is long."""
    return text if len(text) <= TEXT_CAP else f"{text[: TEXT_CAP - 1]}…"


class Part(Value, frozen=True, kw_only=True, omit_defaults=True):
    """One part of an artifact that is not the same on both sides: a tensor, a column, a value, a line."""

    name: str
    """`layer1.weight`, `loss`, `history[3].loss`, `line 12`, `pixels`."""
    note: str = ""
    """What else than a value differs: `float32 became float64`, `only in the original`."""
    where: str = ""
    """The first place that differs: `[3, 0]`, `row 12`."""
    original: str = ""
    replay: str = ""
    """What stands there, for a person."""
    differing: int = 0
    of: int = 0
    """How many elements, cells, pixels or lines differ, of how many that were compared."""
    largest: Number | None = None
    """The largest absolute difference of two finite numbers."""
    mean: Number | None = None
    """The mean absolute difference over all pairs of this part that have one, those that are equal too."""
    ulp: int | None = None
    """The largest number of steps of the type (units in the last place) between two finite numbers."""

    def words(self) -> str:
        """For a person: `first at [3, 0]: 0.5 → 0.25; 12 of 100 differ, by at most 0.25 (mean 0.1, 3 ulp)`."""
        said = [self.note] if self.note else []
        if self.original or self.replay:
            values = f"{self.original} → {self.replay}"
            said.append(f"first at {self.where}: {values}" if self.where else values)
        if self.of > 1:
            said.append(f"{self.differing:,} of {self.of:,} differ")
        if self.largest is not None and self.differing:
            size = f"by at most {brief(self.largest)}" if self.of > 1 else f"by {brief(self.largest)}"
            more = [f"mean {brief(self.mean)}"] if self.mean is not None and self.of > 1 else []
            more += [f"{self.ulp:,} ulp"] if self.ulp is not None else []
            size += f" ({', '.join(more)})" if more else ""
            said = [*said[:-1], f"{said[-1]}, {size}"] if said else [size]
        return "; ".join(said)


class ArtifactComparison(Value, frozen=True, kw_only=True, omit_defaults=True):
    """One file of both sides."""

    path: str
    kind: str
    """The format that it was compared as, `pytorch`; `bytes` where none was, empty where a side has none."""
    verdict: ArtifactVerdict
    reason: str = ""
    """What is to be known beside the parts: other metadata, why only bytes were compared."""
    bytes: int | None = None
    replay_bytes: int | None = None
    """Sizes; None for a side that has no such file."""
    parts: tuple[Part, ...] = ()
    """Those that differ, in the original's order; the first of them, where they are many."""
    parts_differing: int = 0
    parts_of: int = 0
    unit: str = ""
    """What a part is: `tensor`, `column` …"""

    def words(self) -> str:
        """Where it differs first and by how much, in one line."""
        said = []
        if self.parts:
            part = self.parts[0]
            said.append(f"{part.name}: {part.words()}")
            if self.parts_differing > 1:
                said[0] += f" (first of {self.parts_differing:,} {self.unit}s that differ, of {self.parts_of:,})"
        return "; ".join([*said, *([self.reason] if self.reason else [])])


class Artifacts(Value, frozen=True, kw_only=True, omit_defaults=True):
    """All output files of two sides. It never changes the verdict of the metrics."""

    verdict: ArtifactVerdict
    reason: str
    """One sentence."""
    files: tuple[ArtifactComparison, ...]
    """Those that differ first, the weakest verdict first; then by path."""


def conclude(files: list[ArtifactComparison]) -> Artifacts | None:
    """The verdict over all; None without a file."""
    if not files:
        return None
    ordered = sorted(files, key=lambda one: (-ORDER.index(one.verdict), one.path))
    counts = [(v, sum(one.verdict == v for one in files)) for v in reversed(ORDER)]
    said = ", ".join(f"{count} {verdict}" for verdict, count in counts if count)
    noun = "output file" if len(files) == 1 else "output files"
    return Artifacts(verdict=ordered[0].verdict, reason=f"{len(files)} {noun}: {said}", files=tuple(ordered))

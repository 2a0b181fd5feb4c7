"""Reports of every kind, for the contract that all formats keep."""

from __future__ import annotations

import dataclasses
import math
from html.parser import HTMLParser

from msgspec.structs import replace

from runbook.compare.verdict import compare
from runbook.model.artifact import ArtifactComparison, Part, conclude
from runbook.model.calibration import Repeat
from runbook.model.determinism import Change, Determinism, Sensitivity
from runbook.model.environment import Package
from runbook.model.fact import missing, observed
from runbook.model.job import Job
from runbook.model.metric import Metric, Series, Tolerance
from runbook.model.record import Finding, Record, Seed
from runbook.report.interface import Report
from tests.factories import SERIES, make_environment, make_host, make_record

HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e|`\n# [x](javascript:x) ${jndi} {{ 7*7 }} &amp; \x9b2J"
"""What a bundle may try on whoever reads it: HTML, escapes for terminals, bidi, Markdown, templates."""


class Loads(HTMLParser):
    """Everything on a page that would make a browser ask for something, or run something."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in (
            "script",
            "link",
            "img",
            "iframe",
            "object",
            "embed",
            "base",
            "form",
            "audio",
            "video",
            "source",
        ):
            self.found.append(tag)
        for name, value in attrs:
            outside = name == "href" and not (value or "").startswith("#")
            if name.startswith("on") or name in ("src", "srcset", "xlink:href", "action", "background") or outside:
                self.found.append(f"{tag} {name}={value}")


def replayed(**changes: object) -> Record:
    return make_record(**{"kind": "replay", "replay_of": "f" * 64, "engine": "docker"} | changes)


def pair(original: Record, replay: Record, *, replaying: bool = True, **sides: dict[str, Series]) -> Report:
    a, b = sides.get("a", dict(SERIES)), sides.get("b", dict(SERIES))
    return Report(
        original=original,
        replay=replay,
        comparison=compare(original, replay, a, b, replaying=replaying),
        series=a,
        replay_series=b,
        bundle_id="f" * 64,
        bundle_name="demo",
        engine="Docker Engine 20.10.24" if replaying else "",
        isolation="Container without network" if replaying else "",
        cached=True if replaying else None,
        title="demo",
    )


def varied(name: str = "loss", words: str = "this is what makes it vary") -> Determinism:
    """A job that does not repeat itself, and what each of many changes does to it."""
    moved = Change(kind="metric", name=name, first="0.4", other="0.41", difference=0.01, step=1, runs=2)
    verdicts = ("cause", "sensitive", "fails", "cannot tell", "insensitive", "not tried")
    return Determinism(
        verdict="not deterministic",
        words=f"the job is not deterministic here: 3 runs differ in {name}",
        runs=3,
        metrics=2,
        outputs=1,
        changes=(moved, Change(kind="output", name=name, first="absent", other="0f" * 6)),
        sensitivities=tuple(
            Sensitivity(name=f"change-{n}", how=words, verdict=one, words=words, changes=(moved,))  # type: ignore[arg-type]
            for n, one in enumerate(verdicts)
        ),
    )


def repeat(name: str) -> Repeat:
    return Repeat(run=name, engine="docker", status="completed", seeds={name: name}, values={name: 0.4})


def hostile() -> Report:
    original = make_record(
        name=HOSTILE,
        job=Job(argv=("python", HOSTILE), root="/" + HOSTILE, cwd=".", parameters={HOSTILE: HOSTILE}),
        metrics=(Metric(name=HOSTILE, final=1.0, source=HOSTILE, evidence="observed"),),
        seeds=(Seed(name=HOSTILE, value=HOSTILE, evidence="declared"),),
        findings=(Finding(id=HOSTILE, level="warning", text=HOSTILE),),
        tolerances=(Tolerance(pattern=HOSTILE, absolute=1.0),),
        environment=make_environment(
            packages=(
                Package(name=HOSTILE, version=HOSTILE, origin="index", record="modified", modified=(HOSTILE,)),
            ),
            frameworks={HOSTILE: HOSTILE},
        ),
        host=make_host(kernel=missing(HOSTILE)),
    )
    replay = replace(original, kind="replay", host=make_host(cpu_model=observed(HOSTILE)), findings=())
    return Report(
        original=original,
        replay=replay,
        comparison=replace(
            compare(original, replay, {}, {}, replaying=True, substitutions=(HOSTILE,)),
            determinism=varied(HOSTILE, HOSTILE),
            repeats=(repeat(HOSTILE),),
        ),
        series={HOSTILE: Series(steps=(0, 1), values=(1.0, 2.0))},
        bundle_name=HOSTILE,
        engine=HOSTILE,
        isolation=HOSTILE,
        title=HOSTILE,
        notes=(HOSTILE,),
    )


def large() -> Report:
    packages = tuple(
        Package(name=f"package-{i}", version=f"1.{i}", origin="index", record="intact") for i in range(1000)
    )
    values = [math.sin(i / 1000) for i in range(100_000)]
    values[54_321] = 25.0
    metric = Metric(name="spiky", final=values[-1], points=100_000, source="m.jsonl", evidence="observed")
    return Report(
        original=make_record(environment=make_environment(packages=packages), metrics=(metric,)),
        series={"spiky": Series(steps=tuple(range(100_000)), values=tuple(values))},
    )


def odd_curves() -> Report:
    """Everything a curve can be that is hard to draw."""
    curves = {
        "nan": Series(steps=(0, 1, 2), values=("NaN", "Infinity", "-Infinity")),
        "gap": Series(steps=(0, 1, 2, 3), values=(1.0, "NaN", 2.0, 3.0)),
        "flat": Series(steps=(0, 1), values=(0.0, 0.0)),
        "one": Series(steps=(7,), values=(3,)),
        "empty": Series(steps=(), values=()),
        "extreme": Series(steps=(-(10**30), 10**30), values=(-1.7e308, 1.7e308)),
        "tiny": Series(steps=(0, 1), values=(5e-324, 1e-323)),
        "beyond": Series(steps=(0, 10**400), values=(10**400, 1.0)),
        "same step": Series(steps=(0, 0, 0), values=(1.0, 2.0, 1.0)),
    }
    return Report(original=make_record(), series=curves, replay_series={"one": curves["flat"]})


def outputs(text: str = "") -> Report:
    """Output files with every verdict, and a hostile one's words."""
    part = Part(
        name=f"layer1.weight{text}",
        note=text,
        where="[3, 5]",
        original=f"0.5{text}",
        replay="0.25",
        differing=12,
        of=4096,
        largest=0.25,
        mean=1e-3,
        ulp=7,
    )
    sides = {"bytes": 4096, "replay_bytes": 4100}
    files = [
        ArtifactComparison(path="out/log.txt", kind="", verdict="identical bytes", **sides),
        ArtifactComparison(
            path="out/plot.png",
            kind="image",
            verdict="same content",
            reason="metadata differs: Software a → b",
            **sides,
        ),
        ArtifactComparison(
            path="m.pkl", kind="pickle", verdict="bytes differ", reason="a pickle is a program", **sides
        ),
        ArtifactComparison(
            path=f"model.pt{text}",
            kind="pytorch",
            verdict="different",
            parts=(part, replace(part, name="layer2.weight", note="shape [3] became [4]")),
            parts_differing=30,
            parts_of=64,
            unit="tensor",
            **sides,
        ),
        ArtifactComparison(path="new.csv", kind="", verdict="on one side only", reason="the original has none"),
    ]
    report = pair(make_record(), replayed())
    comparison = replace(report.comparison, artifacts=conclude(files))
    return dataclasses.replace(report, comparison=comparison)


def all_reports() -> dict[str, Report]:
    original = make_record()
    accuracy, loss = original.metrics
    same = pair(original, replayed())
    assert same.comparison is not None
    parted = {"loss": Series(steps=(0, 1), values=(0.9, 0.41))}
    worse = (replace(accuracy, final=0.9), replace(loss, final=0.41))
    other = make_record(metrics=worse, seeds=(Seed(name="argv --seed", value="8", evidence="observed"),))
    return {
        "record": Report(original=original, series=SERIES, title="demo"),
        "bare": Report(original=make_record(metrics=(), seeds=(), inputs=(), outputs=(), findings=())),
        "identical": pair(original, replayed()),
        "different": pair(original, replayed(metrics=worse), b=parted),
        "not comparable": pair(
            original, replayed(code=replace(original.code, tree=replace(original.code.tree, digest="0" * 64)))
        ),
        "diff": pair(original, other, replaying=False, b=parted),
        "varied": dataclasses.replace(
            same, comparison=replace(same.comparison, determinism=varied(), repeats=(repeat("loss"),))
        ),
        "hostile": hostile(),
        "outputs": outputs(),
        "hostile outputs": outputs(HOSTILE),
        "large": large(),
        "odd curves": odd_curves(),
    }

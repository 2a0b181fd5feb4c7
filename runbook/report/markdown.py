"""The run book as Markdown (tables as GitHub and pandoc read them)."""

from __future__ import annotations

import re

from runbook.render import render
from runbook.report import bisecting, content, figures, proof, repeating, spread
from runbook.report.interface import Report
from runbook.report.tame import tame

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#+!|~$&])")


class MarkdownReporter:
    """A text that reads well as it is; the RUNBOOK.md of a bundle."""

    name = "markdown"
    suffix = ".md"

    def render(self, report: Report) -> bytes:
        """The document, UTF-8."""
        safe = tame(report)
        text = render(
            "RUNBOOK.md.j2",
            report=safe,
            record=safe.original,
            replay=safe.replay,
            comparison=safe.comparison,
            headline=content.headline(safe),
            bisecting=bisecting,
            sections=content.sections(safe),
            spread=spread.table(safe.original),
            repeating=repeating,
            figures=spread.lines,
            remark=content.remark,
            files=content.files(safe.comparison.artifacts)
            if safe.comparison and safe.comparison.artifacts
            else [],
            packages=content.packages(safe),
            claims=proof.claims(safe),
            checks=proof.checks(),
            bundle_id=content.bundle_id(safe),
            other=content.other_side(safe),
            command=content.command(safe.original),
            md=escape,
            code=code,
            code_cell=code_cell,
            exact=figures.exact,
            signed=figures.signed,
            size=figures.size,
            count=figures.count,
        )
        return text.encode()


def escape(text: object) -> str:
    """Text that Markdown shows as it is: no markup, HTML, link or table cell of its own."""
    escaped = (
        _SPECIAL.sub(r"\\\1", str(text)).replace("\\<", "&lt;").replace("\\>", "&gt;").replace("\\&", "&amp;")
    )
    return escaped.replace("://", ":&#47;&#47;").replace("@", "&#64;").replace("www.", "www&#46;")


def code(text: object) -> str:
    """The text in a code span whose fence is longer than any inside."""
    inside = str(text)
    longest = max((len(run) for run in re.findall(r"`+", inside)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if longest or inside.startswith(" ") or not inside else ""
    return f"{fence}{pad}{inside}{pad}{fence}"


def code_cell(text: object) -> str:
    """A code span inside a table, where even there a bar would end the cell."""
    return code(text).replace("|", "\\|")


MEMBER = MarkdownReporter()

"""The run book as one self-contained HTML page: no script, nothing fetched when it is opened."""

from __future__ import annotations

from runbook.render import render
from runbook.report import bisecting, content, curves, figures, proof, repeating, spread
from runbook.report.interface import Report
from runbook.report.tame import tame


class HtmlReporter:
    """A page that can be mailed, printed and kept."""

    name = "html"
    suffix = ".html"

    def render(self, report: Report) -> bytes:
        """The page, UTF-8."""
        safe = tame(report)
        pictures, more = curves.curves(safe)
        page = render(
            "report/report.html.j2",
            report=safe,
            record=safe.original,
            replay=safe.replay,
            comparison=safe.comparison,
            headline=content.headline(safe),
            bisecting=bisecting,
            sections=content.sections(safe),
            files=content.files(safe.comparison.artifacts)
            if safe.comparison and safe.comparison.artifacts
            else [],
            packages=content.packages(safe),
            claims=proof.claims(safe),
            checks=proof.checks(),
            curves=pictures,
            curves_left_out=more,
            box={"width": curves.WIDTH, "height": curves.HEIGHT, "gap": curves.GAP_HEIGHT},
            strips=spread.strips(safe.comparison.metrics) if safe.comparison else [],
            strip_box={"width": spread.WIDTH, "height": spread.HEIGHT},
            spread=spread.table(safe.original),
            repeating=repeating,
            figures=spread.lines,
            remark=content.remark,
            bundle_id=content.bundle_id(safe),
            other=content.other_side(safe),
            command=content.command(safe.original),
            exact=figures.exact,
            signed=figures.signed,
            size=figures.size,
            count=figures.count,
        )
        return page.encode()


MEMBER = HtmlReporter()

"""The page as PDF, for archives that want one. Needs the extra `pdf` (WeasyPrint)."""

from __future__ import annotations

from importlib.util import find_spec

from runbook.errors import NeedMissing
from runbook.report.html import HtmlReporter
from runbook.report.interface import Report


class PdfReporter:
    """The printed page; it fetches nothing while it is laid out."""

    name = "pdf"
    suffix = ".pdf"

    def render(self, report: Report) -> bytes:
        """The document. Raises NeedMissing without WeasyPrint or the libraries that it loads."""
        if find_spec("weasyprint") is None:
            raise NeedMissing(
                "PDF needs WeasyPrint, which is not installed",
                hint="pip install 'runbook[pdf]'",
                id="no-weasyprint",
            )
        try:
            from weasyprint import HTML
        except OSError as error:
            hint = "install Pango (apt install libpango-1.0-0 libpangoft2-1.0-0), or use --format html"
            raise NeedMissing("WeasyPrint cannot load its libraries", error, hint=hint, id="no-pango") from None
        page = HtmlReporter().render(report).decode()
        document: bytes = HTML(string=page, url_fetcher=_refuse).write_pdf(pdf_identifier=b"runbook")
        return document


def _refuse(url: str) -> dict[str, object]:
    raise ValueError(f"a report loads nothing: {url}")


MEMBER = PdfReporter()

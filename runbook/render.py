"""The one loader of text templates (Jinja2). Undefined names are errors; HTML and XML are escaped."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

    here = Path(__file__).parent
    # A wheel holds the templates inside the package, a checkout beside it.
    folder = here / "templates" if (here / "templates").is_dir() else here.parent / "templates"
    return Environment(
        loader=FileSystemLoader(folder),
        autoescape=select_autoescape(("html", "html.j2", "svg.j2", "xml.j2")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def load() -> None:
    """Compile every template before anybody waits for one."""
    environment = _environment()
    for name in environment.list_templates():
        environment.get_template(name)


def render(template: str, **values: object) -> str:
    """The text of `templates/<template>` with these values."""
    return _environment().get_template(template).render(values)

"""What the job read as its standard input: a file, which a replay feeds it again, or what nobody keeps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from runbook.flow.artifacts import place
from runbook.launch.standard_input import StandardInput
from runbook.model import job
from runbook.model.record import Finding


@dataclass(frozen=True)
class Fed:
    """What came of looking."""

    path: str = ""
    """Absolute path of the file, when the job read one."""
    value: job.StandardInput | None = None
    findings: tuple[Finding, ...] = ()


def look(found: StandardInput, root: Path) -> Fed:
    """After the job: what it read there. An inherited pipe that it left alone is worth no word."""
    read = found.was_read()
    if read is False:
        return Fed()
    if found.kind == "file":
        path = place(Path(found.path), root)
        return Fed(found.path, job.StandardInput(path=path, offset=found.offset))
    what = "a file without a name, such as a here-document" if found.kind == "unnamed" else "a pipe"
    how = "the job read its standard input, which was" if read else "standard input, if the job read it, was"
    text = f"{how} {what}: its content is not kept, and a replay finds it empty"
    level = "warning" if read else "note"
    return Fed(findings=(Finding(id="stdin-not-kept", level=level, text=text),))  # type: ignore[arg-type]

"""Records for the tests of this folder."""

from runbook.model.code import Code, Tree
from runbook.model.environment import Environment
from runbook.model.fact import missing, observed
from runbook.model.host import Host
from runbook.model.job import Job, Outcome, Resources
from runbook.model.record import Record


def record(run, name="iris", outcome=None):
    none = missing("not looked at")
    return Record(
        runbook="0.1.0",
        run=run,
        name=name,
        kind="original",
        job=Job(argv=("python", "train.py"), root="/project", cwd="."),
        outcome=outcome or ended(),
        resources=Resources(**dict.fromkeys(Resources.__struct_fields__, none)),
        code=Code(git=none, tree=Tree(digest="0" * 64, files=0, bytes=0)),
        environment=Environment(interpreter=none, os_packages=none, lock=none, base=none, id=none),
        host=Host(**{f: none for f in Host.__struct_fields__ if f != "threads"}),
        accelerators=none,
    )


def ended(code=0):
    return Outcome(
        status="failed" if code else "completed",
        exit_code=observed(code),
        started=observed("2026-11-23T10:00:00Z"),
        ended=observed("2026-11-23T10:00:05Z"),
        duration_s=observed(5.0),
    )

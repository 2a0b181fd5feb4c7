"""Lock one recorded run's environment: `lock_once.py RUN-FOLDER TARGET`, a process of its own to be timed."""

import sys
from pathlib import Path

import msgspec
import platformdirs
from packaging.utils import canonicalize_name

from runbook.environment.index import Index
from runbook.environment.lock import make_lock
from runbook.model.record import Record
from runbook.observe.probing import Probe


def main() -> None:
    run, target = Path(sys.argv[1]), Path(sys.argv[2])
    record = msgspec.json.decode((run / "draft.json").read_bytes(), type=Record)
    probe = msgspec.json.decode((run / "probe.json").read_bytes(), type=Probe)
    interpreter = record.environment.interpreter.value
    assert interpreter is not None
    installed = {canonicalize_name(one.name): one for one in probe.distributions}
    index = Index(platformdirs.user_cache_path("runbook"))
    result = make_lock(record.environment.packages, interpreter, installed, target, index=index)
    assert not result.lock.absent, result.lock.absent


if __name__ == "__main__":
    main()

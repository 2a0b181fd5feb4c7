"""In which order a job read the inputs of a folder."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from runbook.model.files import SeenFile
from runbook.model.watch import FileUse
from runbook.observe.orders import read_orders


def uses(*names: str) -> list[tuple[SeenFile, FileUse]]:
    """Inputs of one folder, opened in this order by one process, by path as a watch tells them."""
    pairs = [
        (
            SeenFile(path=f"parts/{n}", kind="input", why="data"),
            FileUse(path=f"/p/parts/{n}", order=i, readers=(0,)),
        )
        for i, n in enumerate(names)
    ]
    return sorted(pairs, key=lambda pair: pair[0].path)


def test_the_order_of_the_first_opens_is_told_beside_the_order_of_the_names():
    (listed,), (by_name,) = read_orders(uses("b", "c", "a")), read_orders(uses("a", "b", "c"))
    assert (listed.path, listed.files, listed.first) == ("parts", 3, ("b", "c", "a"))
    assert listed.members == by_name.members
    assert listed.digest != by_name.digest
    assert (listed.by_name, by_name.by_name) == (False, True)


@pytest.mark.parametrize(
    "changes", [{"order": -1}, {"readers": (0, 1)}, {"readers": (1,)}], ids=["unknown", "two-readers", "another"]
)
def test_nothing_is_told_where_processes_took_turns_or_the_order_is_not_known(changes):
    files = uses("b", "a")
    assert read_orders([files[0], (files[1][0], replace(files[1][1], **changes))]) == ()


def test_one_file_and_files_of_the_code_have_no_order():
    assert read_orders(uses("a")) == ()
    assert read_orders([(replace(seen, kind="code"), use) for seen, use in uses("b", "a")]) == ()

"""Folds the records of a job's watch logs, in the order of time, into what was seen."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Literal

from runbook.model.watch import (
    Connection,
    Distributed,
    FileUse,
    FolderUse,
    Process,
    SeedCall,
    Subprocess,
    Switch,
    Use,
    Watched,
)

FORMAT = b"1"
FILES = 200_000
"""Paths that are listed one by one; the others are counted by folder."""
_FOLDERS, _FEW, _SOME, _MANY = 20_000, 8, 100, 10_000
_PATH_CAP = 4096
_FOLDER_RENAMES = 200
"""How often all paths are gone through for a folder that was renamed."""
_LENGTHS = {b"S": 4, b"Y": 5, b"G": 2, b"C": 5, b"X": 3, b"D": 4, b"B": 2}
_VARIED = ("order", "time")
"""What the hook can change about a job."""
_KEPT = re.compile(r"[0-9]{1,10}-[0-9]{1,10}")


class _File:
    """A FileUse in the making, small."""

    __slots__ = (
        *("fetched_by", "first", "kept", "library", "linked_to", "read", "readers", "removed", "renamed_from"),
        *("url", "writers", "written"),
    )

    def __init__(self, first: Literal["read", "written"]) -> None:
        self.first: Literal["read", "written"] = first
        self.readers: tuple[int, ...] = ()
        self.writers: tuple[int, ...] = ()
        self.read = self.written = self.removed = self.library = False
        self.kept = self.url = self.fetched_by = self.linked_to = self.renamed_from = ""


class _Counted:
    """Values by their key, each with how often it came; a bounded number of them."""

    def __init__(self) -> None:
        self.counts: dict[tuple[str, ...], int] = {}

    def add(self, key: tuple[str, ...], count: int = 1) -> None:
        """Records repeat with a growing count."""
        if key in self.counts or len(self.counts) < _MANY:
            self.counts[key] = max(self.counts.get(key, 0), count)


class Fold:
    """Takes records one by one; a record that makes no sense is dropped, and said to be lost."""

    def __init__(self) -> None:
        self._processes: list[Process] = []
        self._numbers: dict[int, int] = {}
        self._by_pid: dict[int, int] = {}
        self._details: dict[int, dict[str, object]] = {}
        self._files: dict[str, _File] = {}
        self._folders: dict[str, list[int]] = {}
        self._renames = 0
        self._imports: set[str] = set()
        self._counted: dict[bytes, _Counted] = {kind: _Counted() for kind in _LENGTHS}
        self._lost: dict[str, None] = {}
        self._refused: set[int] = set()
        self._own: set[str] = set()
        """Watch folders, as the processes know them: what is in them is ours."""
        self._replaced: set[int] = set()
        """Process ids that began anew with another program."""
        self._takers: dict[bytes, Callable[[int, list[bytes]], None]] = {
            b"/": self._read,
            b"?": self._read,
            b"w": self._write,
            b"u": self._update,
            b"n": self._load,
            b"m": self._rename,
            b"h": self._link,
            b"s": self._symlink,
            b"d": self._remove,
            b"k": self._keep,
            b"f": self._fetch,
            b"A": self._argv,
            b"V": self._variables,
            b"I": self._import,
            b"L": lambda _, fields: self.lose(_text(fields[0])),
            b"Z": lambda number, _: self._details[number].update(ended=True),
        }

    def lose(self, sentence: str) -> None:
        """Say once what could not be seen."""
        if len(self._lost) < _SOME:
            self._lost[sentence] = None

    def knows(self, path: bytes) -> bool:
        """Whether this absolute path is listed."""
        return _path(path) in self._files

    def add(self, log: int, kind: bytes, fields: list[bytes]) -> None:
        """Take a record of the log with this number."""
        try:
            if kind == b"P":
                self._process(log, fields)
            elif log not in self._numbers:
                if log not in self._refused:
                    raise ValueError("no process")
            elif kind in self._takers:
                if kind in b"/?wund":  # One path, which may hold the separator; when read, it is the whole record.
                    fields = [kind.strip(b"wund") + b"\x1f".join(fields)]
                self._takers[kind](self._numbers[log], fields)
            else:
                self._count(kind, self._numbers[log], fields)
        except (ValueError, IndexError, KeyError):
            self.lose("a log has records that are torn or not ours: they were not read")

    # --- processes ---

    def _process(self, log: int, fields: list[bytes]) -> None:
        if log in self._numbers or log in self._refused:
            raise ValueError("two processes in one log")
        if fields[0] != FORMAT:
            self._refused.add(log)
            self.lose("a log is in the format of another version of runbook and was not read")
            return
        _, pid, ancestors, start, _, python, executable, cwd, folder = fields
        number = len(self._numbers)
        if int(pid[:10]) in self._replaced:
            ancestors = pid + b"," + ancestors
        above = [
            self._by_pid[int(one)] for one in ancestors.split(b",")[:8] if one and int(one[:10]) in self._by_pid
        ]
        self._numbers[log] = number
        self._own.add(_text(folder))
        self._by_pid[int(pid[:10])] = number
        self._details[number] = {
            "pid": int(pid[:10]),
            "parent": above[0] if above else None,
            "start": "fork" if start == b"fork" else "start",
            "python": _text(python),
            "executable": _text(executable),
            "cwd": _text(cwd),
        }

    def _argv(self, number: int, fields: list[bytes]) -> None:
        self._details[number]["argv"] = tuple(map(_text, fields))

    def _variables(self, number: int, fields: list[bytes]) -> None:
        pairs = (_text(one).partition("=") for one in fields[:_SOME] if one)
        self._details[number]["variables"] = {name: value for name, _, value in pairs}

    # --- files ---

    def _file(self, raw: bytes, first: Literal["read", "written"], *, written: int = 0) -> _File | None:
        """The entry of a path, new or old; None when its folder counts it instead."""
        path = _path(raw)
        if path is None:
            self.lose("a relative path was opened in a folder that is gone, and is not known")
            return None
        found = self._files.get(path)
        if found is None:
            if len(self._files) >= FILES:
                folder = path.rpartition("/")[0] or "/"
                if folder not in self._folders and len(self._folders) >= _FOLDERS:
                    self.lose(f"more than {FILES} files in more than {_FOLDERS} folders: the rest is not listed")
                    return None
                self._folders.setdefault(folder, [0, 0])[written] += 1
                return None
            found = self._files[path] = _File(first)
        return found

    def _read(self, number: int, fields: list[bytes]) -> None:
        file = self._file(fields[0], "read")
        if file is not None:
            file.read = True
            file.readers = _with(file.readers, number)

    def _load(self, number: int, fields: list[bytes]) -> None:
        self._read(number, fields)
        path = _path(fields[0])
        if path in self._files:
            self._files[path].library = True

    def _write(self, number: int, fields: list[bytes]) -> None:
        file = self._file(fields[0], "written", written=1)
        if file is not None:
            file.written, file.removed = True, False
            file.writers = _with(file.writers, number)

    def _update(self, number: int, fields: list[bytes]) -> None:
        self._read(number, fields)
        self._write(number, fields)

    def _link(self, number: int, fields: list[bytes]) -> None:
        self._write(number, fields[1:])

    def _symlink(self, number: int, fields: list[bytes]) -> None:
        """A link made to a file: what is said of the file's download is said of the link."""
        self._write(number, fields[1:])
        target, link = _path(fields[0]), self._files.get(_path(fields[1]) or "")
        if target is not None and link is not None:
            link.linked_to = target
            old = self._files.get(target)
            if old is not None and not link.url:
                link.url, link.fetched_by = old.url, old.fetched_by

    def _rename(self, number: int, fields: list[bytes]) -> None:
        source, target = _path(fields[0]), _path(fields[1])
        if source is None or target is None:
            self._file(b"", "read")
        elif source in self._files or not self._rename_folder(number, source, target):
            self._move(number, source, target)

    def _move(self, number: int, source: str, target: str) -> None:
        old = self._files.get(source)
        new = self._file(os.fsencode(target), "written", written=1)
        if old is not None:
            old.removed = True
            old.writers = _with(old.writers, number)
        if new is not None:
            new.written, new.removed = True, False
            new.writers = _with(new.writers, number)
            if old is not None:
                new.renamed_from, new.url = source, old.url or new.url
                new.fetched_by = old.fetched_by or new.fetched_by

    def _rename_folder(self, number: int, source: str, target: str) -> bool:
        """Whether files are known below it; they move along."""
        if self._renames >= _FOLDER_RENAMES:
            self.lose(
                f"more than {_FOLDER_RENAMES} renames of folders: files below the later ones keep their old names"
            )
            return False
        self._renames += 1
        below = [path for path in self._files if path.startswith(source + "/")]
        for path in below:
            if not self._files[path].removed:
                self._move(number, path, target + path[len(source) :])
        return bool(below)

    def _remove(self, number: int, fields: list[bytes]) -> None:
        path = _path(fields[0])
        file = None if path is None else self._files.get(path)
        if file is not None:
            file.removed = True
            file.writers = _with(file.writers, number)

    def _keep(self, _number: int, fields: list[bytes]) -> None:
        name = _text(fields[1])
        if not _KEPT.fullmatch(name):
            raise ValueError("no name of a copy")
        # The process that kept it may have learnt from another's log that it had been read.
        file = self._file(fields[0], "read")
        if file is not None and not file.kept:
            file.read = True
            file.kept = "kept/" + name

    def _fetch(self, _number: int, fields: list[bytes]) -> None:
        path = _path(fields[0])
        file = None if path is None else self._files.get(path)
        if file is not None:  # It may have been opened before it was asked for, as the next after another.
            file.url, file.fetched_by = _text(fields[1]), _text(fields[2])

    # --- the rest ---

    def _import(self, _number: int, fields: list[bytes]) -> None:
        if len(self._imports) < _MANY:
            self._imports.add(_text(fields[0]))

    def _count(self, kind: bytes, number: int, fields: list[bytes]) -> None:
        words = tuple(map(_text, fields))
        if kind == b"X" and words[0] == "exec":
            self._replaced.add(int(str(self._details[number]["pid"])))
        count, wanted = 1, _LENGTHS[kind]
        if len(words) < wanted if kind == b"X" else len(words) != wanted:
            raise ValueError("another number of fields")
        if kind == b"D":
            int(words[2][:9]), int(words[3][:9])
        if kind in (b"S", b"Y", b"B"):
            count, words = int(words[0][:12]), words[1:]
        self._counted[kind].add((str(number), *words), count)

    def _values(self, kind: bytes) -> list[tuple[int, tuple[str, ...], int]]:
        return [(int(key[0]), key[1:], count) for key, count in self._counted[kind].counts.items()]

    def _varied(self) -> dict[str, int]:
        found = dict.fromkeys(_VARIED, 0)
        for _, (what,), count in self._values(b"B"):
            if what in found:
                found[what] += count
        return {what: count for what, count in found.items() if count}

    def _where(self, number: int, line: str) -> str:
        cwd = str(self._details[number]["cwd"])
        path, colon, place = line.rpartition(":")
        if cwd and path.startswith("/"):
            path = os.path.normpath(path)
            path = path.removeprefix(cwd.rstrip("/") + "/")
        return os.path.normpath(path) + colon + place if path and path[0] != "<" else line

    def _ours(self, path: str) -> bool:
        return any(folder and path.startswith(folder) for folder in self._own)

    def result(self) -> Watched:
        """All that was seen."""
        if not self._numbers:
            self.lose("no Python process was watched: none was started, or with options that keep the hook out")
        return Watched(
            processes=tuple(Process(number=number, **told) for number, told in self._details.items()),  # type: ignore[arg-type]
            files=tuple(
                _use(path, file, order)
                for path, file, order in sorted(
                    (path, file, n) for n, (path, file) in enumerate(self._files.items())
                )
                if not self._ours(path)
            ),
            folders=tuple(
                FolderUse(path=path, read=read, written=written)
                for path, (read, written) in sorted(self._folders.items())
            ),
            imports=tuple(sorted(self._imports)),
            seeds=tuple(
                SeedCall(
                    function=function, value=value, process=number, where=self._where(number, line), count=count
                )
                for number, (function, value, line), count in self._values(b"S")
            ),
            uses=tuple(
                Use(
                    library=library,
                    process=number,
                    seeded=seeded == "1",
                    by_library=seeded == "l",
                    detail=detail,
                    where=self._where(number, line),
                )
                for number, (library, seeded, detail, line), _ in self._values(b"Y")
            ),
            switches=tuple(
                Switch(name=name, value=value, process=number) for number, (name, value), _ in self._values(b"G")
            ),
            connections=tuple(
                Connection(process=number, host=host, port=_port(port), url=url, method=method, by=by)
                for number, (host, port, url, method, by), _ in self._values(b"C")
            ),
            subprocesses=tuple(
                Subprocess(argv=tuple(argv), process=number, executable=executable, exec=how == "exec")
                for number, (how, executable, *argv), _ in self._values(b"X")
            ),
            distributed=tuple(
                Distributed(
                    process=number, framework=framework, backend=backend, world_size=int(size), rank=int(rank)
                )
                for number, (framework, backend, size, rank), _ in self._values(b"D")
            ),
            varied=self._varied(),
            lost=tuple(self._lost),
        )


def _use(path: str, file: _File, order: int) -> FileUse:
    return FileUse(
        path=path,
        read=file.read,
        written=file.written,
        first=file.first,
        readers=file.readers,
        writers=file.writers,
        removed=file.removed,
        kept=file.kept,
        url=file.url,
        fetched_by=file.fetched_by,
        linked_to=file.linked_to,
        renamed_from=file.renamed_from,
        library=file.library,
        order=order,
    )


def _port(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 6 else 0


def _with(numbers: tuple[int, ...], number: int) -> tuple[int, ...]:
    return numbers if number in numbers or len(numbers) >= _FEW else (*numbers, number)


def _text(field: bytes) -> str:
    return field.decode("utf-8", "backslashreplace")


def _path(raw: bytes) -> str | None:
    """Absolute and normalised; None when it was relative to a folder that is gone."""
    if len(raw) > _PATH_CAP or b"\0" in raw:
        raise ValueError("no path")
    if raw[:1] != b"/":
        return None
    path = os.path.normpath(os.fsdecode(raw))
    return path[1:] if path.startswith("//") else path

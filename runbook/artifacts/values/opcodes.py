"""The pickle inside a PyTorch file, read without executing it.

A pickle is a program. Here the few instructions are followed that `torch.save` writes for tensors, dictionaries,
lists, texts and numbers; what it names is never imported or called, but known from a short list, and all else is
refused. `pickletools` of the standard library takes the bytes apart into instructions.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from runbook.artifacts.interface import Unreadable

STORAGES: Final = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexDoubleStorage": "complex128",
    "ComplexFloatStorage": "complex64",
    "UntypedStorage": "uint8",
}
TYPES: Final = {
    **{name: name for name in ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8")},
    **{name: name for name in ("uint8", "uint16", "uint32", "uint64", "bool", "complex128", "complex64")},
    **{name: name for name in ("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz")},
}
_INSTRUCTIONS: Final = 20_000_000


@dataclass(frozen=True)
class Storage:
    """A block of numbers of the file: member `data/KEY`."""

    type: str
    key: str
    count: int


@dataclass(frozen=True)
class View:
    """A tensor: a view into a storage."""

    storage: Storage
    type: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Mark:
    pass


@dataclass(frozen=True)
class _Named:
    """Something that the pickle names; never imported."""

    name: str


def read_pickle(data: bytes) -> Any:
    """The value, of dictionaries, lists, tuples, texts, numbers and View. Raises Unreadable for anything else."""
    try:
        return _Machine().run(data)
    except Unreadable:
        raise
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise Unreadable(f"its pickle is none that torch.save writes ({type(error).__name__})") from None


class _Machine:
    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, data: bytes) -> Any:
        for count, (code, argument, _) in enumerate(pickletools.genops(io.BytesIO(data))):
            if count > _INSTRUCTIONS:
                raise Unreadable("its pickle is too long")
            if code.name == "STOP":
                return self.stack.pop()
            step = _STEPS.get(code.name)
            if step is None:
                raise Unreadable(f"its pickle has the instruction {code.name}, which no tensor needs")
            step(self, argument)
        raise Unreadable("its pickle does not end")

    def since_mark(self) -> list[Any]:
        at = len(self.stack) - 1
        while not isinstance(self.stack[at], _Mark):
            at -= 1
            if at < 0:
                raise IndexError("no mark")
        taken = self.stack[at + 1 :]
        del self.stack[at:]
        return taken

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def tuple_of(self, count: int) -> None:
        taken = self.stack[-count:]
        if len(taken) != count:
            raise IndexError("stack")
        del self.stack[-count:]
        self.stack.append(tuple(taken))

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict) or len(items) % 2:
            raise TypeError("not a dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[key] = value

    def extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, list):
            raise TypeError("not a list")
        target.extend(items)

    def persistent(self) -> None:
        kind, type_, key, _, count = self.stack.pop()
        if kind != "storage" or not isinstance(type_, _Named) or not isinstance(key, str) or not _is_size(count):
            raise Unreadable("its pickle refers to what is no storage")
        name = type_.name.rpartition(".")[2]
        if name not in STORAGES:
            raise Unreadable(f"its pickle has a storage of type {name[:40]}")
        self.push(Storage(STORAGES[name], key, count))

    def named(self, name: str) -> None:
        if name not in _CALLS and not _is_type(name):
            raise Unreadable(f"its pickle names {name[:80]}, which no tensor needs")
        self.push(_Named(name))

    def reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, _Named) or function.name not in _CALLS or not isinstance(arguments, tuple):
            raise Unreadable("its pickle calls what no tensor needs")
        self.push(_CALLS[function.name](*arguments))

    def build(self) -> None:
        # The attributes of an OrderedDict: `_metadata`, versions of modules, which hold no numbers of the model.
        state = self.stack.pop()
        if not isinstance(self.stack[-1], dict) or not isinstance(state, dict):
            raise Unreadable("its pickle sets attributes of what is no dictionary")

    def get(self, index: int) -> None:
        self.push(self.memo[index])

    def put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]


def _is_size(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 62


def _is_type(name: str) -> bool:
    module, _, last = name.rpartition(".")
    return (module in ("torch", "torch.storage") and last in STORAGES) or (module == "torch" and last in TYPES)


def _ordered_dict(*arguments: Any) -> dict[Any, Any]:
    if arguments not in ((), ([],)):
        raise TypeError("an OrderedDict with arguments")
    return {}


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> View:
    if not isinstance(storage, Storage):
        raise TypeError("not a storage")
    return _view(storage, storage.type, offset, shape, strides)


def _tensor_of(
    storage: Any, offset: Any, shape: Any, strides: Any, _grad: Any, _hooks: Any, type_: Any, *_: Any
) -> View:
    """`_rebuild_tensor_v3`: over bytes, with the type beside them."""
    if not isinstance(storage, Storage) or not isinstance(type_, _Named):
        raise TypeError("not a storage")
    return _view(storage, TYPES[type_.name.rpartition(".")[2]], offset, shape, strides)


def _view(storage: Storage, type_: str, offset: Any, shape: Any, strides: Any) -> View:
    numbers = (offset, *shape, *strides)
    if len(shape) != len(strides) or not all(_is_size(n) for n in numbers):
        raise Unreadable("a tensor of an impossible shape")
    return View(storage, type_, offset, tuple(shape), tuple(strides))


def _parameter(data: Any, *_: Any) -> View:
    if not isinstance(data, View):
        raise TypeError("not a tensor")
    return data


def _size(shape: Any = ()) -> tuple[Any, ...]:
    return tuple(shape)


def _text(*arguments: Any) -> str:
    return ":".join(str(a) for a in arguments if isinstance(a, str | int))


_CALLS: Final[dict[str, Callable[..., Any]]] = {
    "collections.OrderedDict": _ordered_dict,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_of,
    "torch._utils._rebuild_parameter": _parameter,
    "torch.Size": _size,
    "torch.device": _text,
}


def _global(machine: _Machine, argument: Any) -> None:
    machine.named(str(argument).replace(" ", "."))


def _stack_global(machine: _Machine, _: Any) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    if not isinstance(name, str) or not isinstance(module, str):
        raise TypeError("not a name")
    machine.named(f"{module}.{name}")


def _push(machine: _Machine, argument: Any) -> None:
    machine.push(argument)


def _constant(value: Any) -> Callable[[_Machine, Any], None]:
    return lambda machine, _: machine.push(value)


def _pair(machine: _Machine, _: Any) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    machine.set_items([key, value])


_STEPS: Final[dict[str, Callable[[_Machine, Any], None]]] = {
    **dict.fromkeys(("PROTO", "FRAME"), lambda _machine, _: None),
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"), _push),
    **dict.fromkeys(("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"), _push),
    "NONE": _constant(None),
    "NEWTRUE": _constant(True),
    "NEWFALSE": _constant(False),
    "MARK": lambda m, _: m.push(_Mark()),
    "EMPTY_DICT": lambda m, _: m.push({}),
    "EMPTY_LIST": lambda m, _: m.push([]),
    "EMPTY_TUPLE": _constant(()),
    "TUPLE": lambda m, _: m.push(tuple(m.since_mark())),
    "TUPLE1": lambda m, _: m.tuple_of(1),
    "TUPLE2": lambda m, _: m.tuple_of(2),
    "TUPLE3": lambda m, _: m.tuple_of(3),
    "SETITEM": _pair,
    "SETITEMS": lambda m, _: m.set_items(m.since_mark()),
    "APPEND": lambda m, _: m.extend([m.stack.pop()]),
    "APPENDS": lambda m, _: m.extend(m.since_mark()),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), lambda m, index: m.put(index)),
    "MEMOIZE": lambda m, _: m.put(len(m.memo)),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), lambda m, index: m.get(index)),
    "GLOBAL": _global,
    "STACK_GLOBAL": _stack_global,
    "BINPERSID": lambda m, _: m.persistent(),
    "REDUCE": lambda m, _: m.reduce(),
    "BUILD": lambda m, _: m.build(),
}

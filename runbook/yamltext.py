"""YAML as plain data: YAML 1.2's scalars, safe types only, no duplicate keys, no aliases; lines of every node.

Aliases are refused rather than counted: neither a metrics file nor runbook.yaml needs one, and they are how a
small file grows to gigabytes.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

MAX_DEPTH = 64


class YamlError(ValueError):
    """The text is not YAML as read here; `line` is where, 1-based, 0 when unknown."""

    def __init__(self, what: str, line: int = 0) -> None:
        super().__init__(f"line {line}: {what}" if line else what)
        self.what = what
        self.line = line


class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2's core schema: `no` is text, `1e-3` is a number, `010` is ten."""

    yaml_implicit_resolvers: dict[str, Any] = {}
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        line = self.peek_event().start_mark.line + 1  # type: ignore[no-untyped-call]
        if self.check_event(yaml.AliasEvent):
            raise YamlError("aliases are not read", line)
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise YamlError(f"nested deeper than {MAX_DEPTH}", line)
        try:
            node: yaml.Node | None = super().compose_node(parent, index)
            return node
        finally:
            self.depth -= 1

    def compose_scalar_node(self, anchor: Any) -> yaml.ScalarNode:
        node: yaml.ScalarNode = super().compose_scalar_node(anchor)
        if any("\ud800" <= c <= "\udfff" for c in node.value):
            try:  # A character beyond the first plane, escaped as JSON does, arrives as two halves.
                node.value = node.value.encode("utf-16", "surrogatepass").decode("utf-16")
            except UnicodeDecodeError:
                raise YamlError("half a character", node.start_mark.line + 1) from None
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise YamlError("a key is not a plain word", key.start_mark.line + 1)
            if key.value in seen:
                raise YamlError(f"the key {key.value} stands here twice", key.start_mark.line + 1)
            seen.add(key.value)
        # Keys are names, never numbers or booleans, whatever they look like.
        return {key.value: self.construct_object(value, deep=True) for key, value in node.value}

    def construct_number(self, node: yaml.ScalarNode) -> int | float:
        text: str = node.value
        if node.tag == "tag:yaml.org,2002:int":
            return int(text, 0) if text[:2] in ("0x", "0o") else int(text)
        special = {"inf": float("inf"), "nan": float("nan")}
        word = text.lower().lstrip("+-").lstrip(".")
        return special[word] * (-1 if text.startswith("-") else 1) if word in special else float(text)


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("float", r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", "-+."),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), list(_first))
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_number)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_number)


def load(text: bytes) -> tuple[Any, yaml.Node | None]:
    """The one document of a text, as dict, list, str, int, float, bool and None, and its tree of nodes.

    Raises YamlError.
    """
    try:
        loader = _Loader(text)
        try:
            node: yaml.Node | None = loader.get_single_node()
            return (None if node is None else loader.construct_document(node)), node
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YamlError(error.problem or "is not YAML", mark.line + 1 if mark else 0) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise YamlError(f"is not YAML ({str(error).splitlines()[0]})") from None
    except YamlError:
        raise
    except ValueError as error:
        raise YamlError(str(error)) from None

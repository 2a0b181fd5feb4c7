"""Takes one line of a log apart: which names have which numbers, and which step they belong to. Pure.

Every character is looked at a bounded number of times: the tokens are alternatives that cannot be read in two
ways, and what follows is a loop over them. A log is hostile as everything else that a job writes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from runbook.launch.metrics.noise import MEMORY_UNITS, SPEED_UNITS, TIME_UNITS, words_of
from runbook.launch.metrics.numbers import parse_number

COUNTERS = (
    *("global_step", "step", "steps", "timestep", "iteration", "iterations", "iter", "iters", "it", "update"),
    *(
        "batch",
        "batches",
        "epoch",
        "epochs",
        "ep",
        "episode",
        "episodes",
        "round",
        "trial",
        "generation",
        "gen",
        "fold",
    ),
)
"""Words before a number that count, the finest first."""
_MAX_LABEL = 80
_MAX_WORDS = 12
_TOKEN = re.compile(
    r"(?P<num>[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)"
    r"(?P<of> ?/ ?[0-9]+(?:\.[0-9]+)?)?(?P<unit> ?%|[A-Za-zµμ][\w/]*)?"
    r"|(?P<word>[^\W\d][\w./@^'#&+-]*)"
    r"|(?P<sep>[:=](?![:=>]))"
    r"|(?P<junk>[-=~>*#_<.:]{2,})"
    r"|(?P<dash>[-–—](?=\s))"
    r"|(?P<open>[(\[{])|(?P<close>[)\]}])"
    r"|(?P<cut>[|,;!?\t])"
    r"|(?P<space> +)|(?P<other>.)",
    re.DOTALL,
)
_HEAD = re.compile(
    r"\s*(?:[\[(]?(?:\d{4}[-/]\d\d[-/]\d\d(?:[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?)?|\d\d:\d\d:\d\d(?:[.,]\d+)?)[\])]?"
    r"[\s:|-]*)?"
    r"(?:\[?(?:DEBUG|INFO|WARNING|WARN|ERROR|CRITICAL)\]?(?:\s*:\s*(?:[\w.]+:)?|\s+|\s*-\s+))?"
)
"""What a logger puts in front: a date, a time, a level, a module."""
_TAGS = re.compile(r"\s*\[(?:LightGBM|Info|Warning|INFO|WARNING|DEBUG|ERROR|rank ?\d+|[\w.]+\.py:\d+)\]:?")
_COUNT_AT_START = re.compile(r"\s*(?:\[(\d+)(?:/\d+)?\]:?(?=\s)|(\d+):(?=\s))")
_FORMULA = re.compile(r" ?(?:[*×]|\+(?![/-])|[A-Za-z]\w* ?\^)")
_PREPOSITIONS = words_of("after at of for in on by")
_PROSE = _PREPOSITIONS | words_of("to from with the a an is are was were and or than took saved loading")
_OF_TRAINING = words_of("train training test val validation eval global current total epoch optimization")
_UNITS = TIME_UNITS | SPEED_UNITS | MEMORY_UNITS
_NO_NAME = re.compile(r"\.(?:py|ipynb|json|csv|pt|txt)$|[a-z](?:Warning|Error|Exception)$")
_NOT_FINITE = {"nan": "nan", "inf": "inf", "infinity": "inf"}


@dataclass
class Pair:
    """A name and the number behind it."""

    name: str
    value: int | float
    unit: str = ""
    setting: bool = False
    """It stands in the brackets of a constructor, `Ridge(alpha=0.5)`, or of a heading."""


@dataclass
class Line:
    """What one line says."""

    pairs: list[Pair] = field(default_factory=list)
    steps: dict[str, int] = field(default_factory=dict)
    """Counter → its number."""

    def step(self) -> int | None:
        """The number of the finest counter on the line."""
        return next((self.steps[name] for name in COUNTERS if name in self.steps), None)


def parse_line(text: str) -> Line:
    """The names and numbers of a line that holds no escape codes and no carriage returns."""
    return _Parser(text).parse()


class _Parser:
    """A loop over the tokens of a line; `words` is what may become a name."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.line = Line()
        self.words: list[tuple[str, int | float | None]] = []
        self.loose: list[Pair] = []
        self.prefix = ""
        self.fresh = True
        """Nothing was found since the line or its part began."""
        self.whole = True
        """Nothing but words and numbers so far."""
        self.pending = False
        self.enclosed = ""
        self.brackets: list[tuple[list[tuple[str, int | float | None]] | None, int, bool]] = []
        self.number_end = -1
        self.last: Pair | None = None

    def parse(self) -> Line:
        """Read the whole line."""
        start = self._head()
        for match in _TOKEN.finditer(self.text, start):
            kind = match.lastgroup
            if kind == "word":
                self._word(match)
            elif kind not in ("space", "other", None):
                _ACTIONS.get(kind, _Parser._num)(self, match)
        self._cut()
        # print("Accuracy", accuracy): the line is nothing else.
        if self.line.steps or (self.whole and all(isinstance(pair.value, float) for pair in self.loose)):
            self.line.pairs += self.loose
        return self.line

    def _head(self) -> int:
        match = _HEAD.match(self.text)
        start = match.end() if match else 0
        while tag := _TAGS.match(self.text, start):
            start = tag.end()
        if count := _COUNT_AT_START.match(self.text, start):
            self.line.steps["step"] = int((count[1] or count[2])[:18])
            return count.end()
        if self.text[start : start + 1] == "[":  # `[train] loss: 1` is about the loss of train.
            end = self.text.find("]", start, start + 40)
            name = self.text[start + 1 : end]
            if end > 0 and name.replace(" ", "").isalpha():
                self.prefix, self.fresh = name, False
                return end + 1
        return start

    def _num(self, match: re.Match[str]) -> None:
        start, end, unit = match.start(), match.end(), (match["unit"] or "").strip()
        text = match["num"]
        before, after = self.text[start - 1 : start] if start else "", self.text[end : end + 2]
        broken = (
            start == self.number_end
            or (before in "._" and bool(before))
            or (unit not in ("", "%", "dB") and (unit.lower() not in _UNITS or unit in "KMGTBHD"))
            or (after[:1] in (":", ",", "_", "/", "-", ".") and after[1:].isdigit())
        )
        if start == self.number_end and self.last is not None:
            self._forget()
        self.number_end = end
        value = parse_number(text.rstrip(".") or text)
        if broken or value is None:
            self.pending, self.words = False, []
            return
        if self.pending or self._says_is():
            self._take(value, unit, end)
        elif not self._counts(value):
            self.words.append((text + (match["of"] or "") + unit, value if not match["of"] and not unit else None))
            if unit:
                self.words[-1] = (text + unit, value)

    def _take(self, value: int | float, unit: str, end: int) -> None:
        label = self._label()
        self.pending, closer = False, self.text[end : end + 1]
        wanted, self.enclosed = self.enclosed, ""
        if self._is_counter(label) and not unit:
            if isinstance(value, int) and abs(value) < 2**63:
                self.line.steps.setdefault(label.lower().split()[-1], value)
            elif isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
                self.line.steps.setdefault(label.lower().split()[-1], int(value))
            self.words = []
            return
        self.words = []
        if _FORMULA.match(self.text, end) or (wanted and closer not in wanted):
            return
        if label:
            self.last = Pair(f"{self.prefix}: {label}" if self.prefix else label, value, unit)
            self.line.pairs.append(self.last)
            self.fresh = False

    def _says_is(self) -> bool:
        tail = [word.lower() for word, _ in self.words[-2:]]
        cut = 2 if tail[-1:] == ["now"] and tail[:1] == ["is"] else 1 if tail[-1:] in (["is"], ["was"]) else 0
        if not cut or not 1 <= len(self.words) - cut <= 5:
            return False
        self.words = self.words[:-cut]
        return True

    def _counts(self, value: int | float) -> bool:
        """Whether the word before this number counts: `step 500`, `Loss after iteration 3`."""
        if not self.words or not isinstance(value, int) or abs(value) >= 2**63:
            return False
        word = self.words[-1][0].lower().strip("#")
        if word not in COUNTERS or self.words[-1][1] is not None:
            return False
        self.line.steps.setdefault(word, value)
        self.words.pop()
        if self.words and self.words[-1][0].lower() in _PREPOSITIONS:
            self.words.pop()
        elif all(other.lower() in _OF_TRAINING for other, _ in self.words):
            self.words = []
        return True

    def _word(self, match: re.Match[str]) -> None:
        word, end = match[0], match.end()
        plain = word.rstrip(".'/+-^&#")
        lower = plain.lower()
        if self.pending:
            if lower in _NOT_FINITE:
                sign = "-" if self.text[match.start() - 1] == "-" else ""
                self._take(float(sign + _NOT_FINITE[lower]), "", end)
                return
            if self.text[end : end + 1] == "(":  # tensor(0.5), np.float64(0.5)
                self.enclosed = "),"
                return
            self.pending, self.enclosed = False, ""
            label = self._label()
            if label and self.fresh and not self.brackets:
                self.prefix = label
            self.words = []
        behind = self.last if match.start() - self.number_end == 1 and not self.words else None
        if (
            behind
            and (plain if len(plain) == 1 else lower) in _UNITS
            and self.text[end : end + 1] not in (":", "=")
        ):
            behind.unit, self.last = lower, None
            return
        if lower in COUNTERS and self.words and self.words[-1][1] is not None and len(self.words) == 2:
            count, lead = self.words[-1][1], self.words[-2][0].lower()
            if lead in ("after", "at") and isinstance(count, int) and abs(count) < 2**63:
                self.line.steps.setdefault(lower, count)
                self.words = []
                return
        if len(self.words) < 64:
            self.words.append((plain, None))
        if word.endswith(".") and self.text[end : end + 1] == " ":
            self._cut()

    def _sep(self, match: re.Match[str]) -> None:
        self.whole = False
        if self.words:
            self.pending, self.enclosed = True, ""

    def _open(self, match: re.Match[str]) -> None:
        before = self.text[match.start() - 1 : match.start()]
        attached = match[0] == "(" and (before.isalnum() or before == "_")
        if self.pending and not self.enclosed:
            self.enclosed = {"(": ")", "[": "]", "{": ""}[match[0]]
            if match[0] == "{":
                self.pending = False
                self.prefix, self.words = self.prefix or self._label(), []
        if len(self.brackets) < 64:
            # Brackets around a value, tensor(0.5), are no brackets around names.
            kept = None if self.pending else self.words
            self.brackets.append((kept, len(self.line.pairs) + self.pending, attached))
        if not self.pending:
            self.words = []

    def _close(self, match: re.Match[str]) -> None:
        inside = self.words
        self._flush()
        self.pending, self.enclosed, self.words = False, "", []
        if not self.brackets:
            return
        outer, first, attached = self.brackets.pop()
        heading = match[0] == ")" and self.text[match.end() : match.end() + 1] == ":" and bool(outer)
        for pair in self.line.pairs[first:]:
            pair.setting = pair.setting or attached or heading
        if outer is None or (heading and len(self.line.pairs) > first):
            return
        named = len(self.line.pairs) == first and all(text[0].isalpha() for text, _ in inside)
        self.words = outer + inside[:4] if named else outer

    def _cut(self, match: re.Match[str] | None = None) -> None:
        if match is not None and match[0] == "\t" and self.pending:
            return
        self.whole = self.whole and match is None
        found = self._flush()
        if self.fresh and not found:
            self.prefix = ""
        if match is not None and match[0] == "|":
            self.fresh = True
        self.pending, self.enclosed, self.words = False, "", []

    def _junk(self, match: re.Match[str]) -> None:
        self._cut()

    def _dash(self, match: re.Match[str]) -> None:
        self._cut()

    def _flush(self) -> bool:
        """Names and numbers with a mere space between, `loss 2.19`: they count where the line counts steps."""
        pairs: list[Pair] = []
        name: list[str] = []
        for text, value in self.words:
            if value is None:
                name.append(text)
                continue
            unit = text.lstrip("+-.0123456789eE") if not text[-1:].isdigit() else ""
            if not 1 <= len(name) <= 3 or any(word.lower() in _PROSE for word in name):
                return False
            label = " ".join(name)
            pairs.append(Pair(f"{self.prefix}: {label}" if self.prefix else label, value, unit))
            name = []
        if name or not pairs or any(not _named(pair.name) for pair in pairs):
            return False
        self.loose += pairs
        return True

    def _label(self) -> str:
        """The words so far as a name; empty where they are none."""
        words = [text for text, _ in self.words]
        while words and not words[0][0].isalpha() and len(words) > 1:
            words = words[1:]  # What is left of a time or a count before the name differs from line to line.
        if words and words[0] in ("The", "the", "Final", "A"):
            words = words[1:] if words[0] != "Final" or len(words) > 1 else words
        while words and words[-1].lower() in ("is", "was", "now"):
            words = words[:-1]
        label = " ".join(words)
        return label if len(words) <= _MAX_WORDS and _named(label) else ""

    def _forget(self) -> None:
        if self.line.pairs and self.line.pairs[-1] is self.last:
            self.line.pairs.pop()
        self.last = None

    @staticmethod
    def _is_counter(label: str) -> bool:
        words = label.lower().split()
        return bool(words) and words[-1] in COUNTERS and all(word in _OF_TRAINING for word in words[:-1])


_ACTIONS = {
    "sep": _Parser._sep,
    "open": _Parser._open,
    "close": _Parser._close,
    "cut": _Parser._cut,
    "junk": _Parser._junk,
    "dash": _Parser._dash,
}


def _named(label: str) -> bool:
    """Whether a text can be the name of a metric: short, with a letter, neither a path nor an address."""
    if not label or len(label) > _MAX_LABEL or not any(c.isalpha() for c in label):
        return False
    last = label.rpartition(" ")[2]
    return not ("/" in last and "." in last) and not _NO_NAME.search(last)

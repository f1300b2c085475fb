"""Labels and selectors: which versions `stage=production, framework In (xgboost, lightgbm)` means."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from orchestrator.errors import StoreError

__all__ = ["Requirement", "check_label", "matches", "parse_selector"]

_LABEL: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_TOKEN: Final = re.compile(r"!=|==|[=(),]|[A-Za-z0-9._-]+|$|(?P<other>.)", re.DOTALL)
_RULE: Final = "63 characters at most: letters, digits, '.', '_' and '-', a letter or digit at both ends"
_SETS: Final = {"In": "In", "in": "In", "NotIn": "NotIn", "notin": "NotIn"}


def check_label(text: str, what: str) -> str:
    """The text, where it can be a label's key or value.

    Args:
        what: for the message: `key`, or `value of KEY`.

    Raises:
        StoreError: it cannot.
    """
    if not isinstance(text, str) or not _LABEL.fullmatch(text):
        raise StoreError(f"label: {what} {text!r} cannot be one", hint=_RULE)
    return text


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on one label.

    Attributes:
        operator: `In`, `NotIn`, `Exists` or `DoesNotExist`; `=` is `In` of one value, and `!=` is `NotIn` of one.
    """

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether labels satisfy it; without the label itself only `DoesNotExist` does, unlike in Kubernetes."""
        match self.operator:
            case "In":
                return labels.get(self.key) in self.values
            case "NotIn":
                return self.key in labels and labels[self.key] not in self.values
            case "Exists":
                return self.key in labels
            case _:
                return self.key not in labels


def matches(selector: tuple[Requirement, ...], labels: Mapping[str, str]) -> bool:
    """Whether labels satisfy every requirement."""
    return all(requirement.matches(labels) for requirement in selector)


def parse_selector(text: str) -> tuple[Requirement, ...]:
    """Reads `a=b, a!=b, a In (x, y), a NotIn (x), a Exists, a DoesNotExist`; a comma is "and", nothing is everything.

    Raises:
        StoreError: it is not of that form; the message has the column.
    """
    return _Parser(text).selector()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._end = 0
        self._advance()

    def selector(self) -> tuple[Requirement, ...]:
        if not self._next:
            return ()
        found = [self._requirement()]
        while self._next:
            self._expect(",", "',' or the end")
            found.append(self._requirement())
        return tuple(found)

    def _requirement(self) -> Requirement:
        key = self._word("a label's key")
        operator = self._next
        if operator in {"=", "==", "!="}:
            self._advance()
            values = frozenset({self._word("a value")})
            return Requirement(key, "NotIn" if operator == "!=" else "In", values)
        if operator in {"Exists", "DoesNotExist"}:
            self._advance()
            return Requirement(key, operator)
        if operator in _SETS:
            self._advance()
            self._expect("(", "'('")
            values = frozenset(self._values())
            return Requirement(key, _SETS[operator], values)
        raise self._refusal("'=', '!=', In, NotIn, Exists or DoesNotExist")

    def _values(self) -> list[str]:
        found = [self._word("a value")]
        while self._next == ",":
            self._advance()
            found.append(self._word("a value"))
        self._expect(")", "',' or ')'")
        return found

    def _word(self, what: str) -> str:
        word = self._next
        if not word or not (word[0].isalnum() or word[0] in "._-"):
            raise self._refusal(what)
        if not _LABEL.fullmatch(word):
            raise StoreError(f"selector {self._text!r}, column {self._column}: {word!r} cannot be {what}", hint=_RULE)
        self._advance()
        return word

    def _expect(self, token: str, what: str) -> None:
        if self._next != token:
            raise self._refusal(what)
        self._advance()

    def _advance(self) -> None:
        start = self._end
        while start < len(self._text) and self._text[start].isspace():
            start += 1
        match = _TOKEN.match(self._text, start)
        assert match is not None  # the last branch takes any character
        self._column = start + 1
        self._next = match[0]
        self._end = match.end()

    def _refusal(self, expected: str) -> StoreError:
        found = repr(self._next) if self._next else "the end"
        return StoreError(
            f"selector {self._text!r}, column {self._column}: expected {expected}, not {found}",
            hint="a=b, a!=b, a In (x, y), a NotIn (x), a Exists, a DoesNotExist; a comma is 'and'",
        )

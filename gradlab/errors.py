"""The exceptions of gradlab, and the one way in which their messages name what was meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class GradlabError(Exception):
    """Anything that gradlab refuses; its text says what was expected, what came and what to do."""


class InputError(GradlabError, ValueError):
    """An array, a size or a choice that a public function cannot take."""


class SpecError(GradlabError, ValueError):
    """A study's specification that cannot be run; the text starts with the key's path."""


class StoreError(GradlabError):
    """A results folder that cannot be read or written."""


class RunError(GradlabError):
    """A run that had begun and could not go on; what had finished is kept."""


def unknown(kind: str, name: object, known: Iterable[str]) -> str:
    """Return ``unknown cell "lsmt"; did you mean "lstm"? (gru, lstm, rnn)``."""
    names = list(known)
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f'; did you mean "{near[0]}"?' if near else ";"
    return f'unknown {kind} "{printable(str(name), 100)}"{hint} ({", ".join(names)})'


def printable(text: str, most: int) -> str:
    """Return ``text`` as one line of at most ``most`` characters: escaped as in Python, without its middle."""
    half = (most - 3) // 2
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return line if len(line) <= most else f"{line[:half]} … {line[-half:]}"

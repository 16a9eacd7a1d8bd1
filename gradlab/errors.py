"""The exceptions of gradlab, and how their messages suggest the nearest valid name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class GradlabError(Exception):
    """Base class of gradlab's errors; the message has what was expected, what came, and what to do."""


class InputError(GradlabError, ValueError):
    """An argument that a public function cannot accept: an array, a size or a choice."""


class SpecError(GradlabError, ValueError):
    """An invalid specification of a study; the message starts with the path of the key."""


class StoreError(GradlabError):
    """A results folder that cannot be read or written."""


class RunError(GradlabError):
    """A run that stopped before its end; finished work is kept."""


def unknown(kind: str, name: object, known: Iterable[str]) -> str:
    """Return ``unknown cell "lsmt"; did you mean "lstm"? (gru, lstm, rnn)``."""
    names = list(known)
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f'; did you mean "{near[0]}"?' if near else ";"
    return f'unknown {kind} "{printable(str(name), 100)}"{hint} ({", ".join(names)})'


def printable(text: str, most: int) -> str:
    """Return ``text`` on one line of at most ``most`` characters: escaped as in Python, shortened in the middle."""
    half = (most - 3) // 2
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return line if len(line) <= most else f"{line[:half]} … {line[-half:]}"

"""Where a study came from, in lines, and the command that makes it again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any


def provenance_lines(provenance: Mapping[str, Any]) -> dict[str, str]:
    """Return provenance as one line an entry; lists of words are a command line, tables ``key value`` pairs."""
    return {key: _line(value) for key, value in provenance.items() if value not in (None, [], {})}


def typed(provenance: Mapping[str, Any]) -> str:
    """Return the command line ``gradlab run …`` that ran the study; "" where it was run from Python."""
    words = [str(word) for word in provenance.get("argv") or []]
    return shlex.join(["gradlab", *words[1:]]) if words[1:2] == ["run"] else ""


def again(study: Mapping[str, Any], provenance: Mapping[str, Any]) -> list[str]:
    """Return the commands that run the study again, typed in the folder of its ``study.toml``."""
    needed = [f"# with {code(provenance)}"] if code(provenance) else []
    return [*needed, shlex.join(["gradlab", "run", "study.toml", "--out", f"../{study['name']}_again"])]


def code(provenance: Mapping[str, Any]) -> str:
    """Return the code that a study was run with, as far as it is known: its commit, or its version."""
    git = provenance.get("git") or {}
    version = (provenance.get("versions") or {}).get("gradlab")
    found = f"gradlab at commit {git['commit']}" if git.get("commit") else f"gradlab {version}" if version else ""
    return found + (", which had uncommitted changes" if git.get("dirty") else "")


def versions(provenance: Mapping[str, Any]) -> dict[str, str]:
    """Return what a study was run with: versions, commit, machine."""
    git, machine = provenance.get("git") or {}, provenance.get("machine") or {}
    found = {f"version of {name}": str(version) for name, version in (provenance.get("versions") or {}).items()}
    found |= {"commit": git["commit"] + (" with changes" if git.get("dirty") else "")} if git.get("commit") else {}
    return found | ({"machine": str(machine["system"])} if machine.get("system") else {})


def _line(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_line(entry)}" for key, entry in value.items() if entry is not None)
    if isinstance(value, list | tuple):
        return shlex.join(_line(entry) for entry in value)
    return str(value)

"""What ``gradlab status`` prints: how far a study is, who runs it, what failed."""

from __future__ import annotations

from pathlib import Path

from gradlab.progress import counted
from gradlab.study.lock import holder
from gradlab.study.results import Results, load_results

#: Failures that are named one by one; the report names all.
SHOWN = 10


def describe_status(folder: str | Path) -> str:
    """Return the counts by status, the runner if there is one, and the first failures with their reasons."""
    results = load_results(folder)
    counts = results.status()
    finished, total = sum(counts.values()) - counts["planned"], sum(counts.values())
    lines = [f"{results.plan.spec.name}: {finished} of {counted(total, 'configuration')} finished"]
    lines += [f"  {status:9} {count}" for status, count in {**counts, "planned": counts["planned"]}.items()]
    held = holder(results.folder)
    lines.append(f"  {held}" if held else "  nobody is running it" + _next(counts))
    return "\n".join(lines + _failures(results, counts["failed"]))


def _next(counts: dict[str, int]) -> str:
    if counts["planned"]:
        return "; `gradlab run` on its file goes on from here"
    return "; `gradlab run --retry-failed` runs what failed again" if counts["failed"] else ""


def _failures(results: Results, count: int) -> list[str]:
    if not count:
        return []
    runs = results.frame("runs", where={"status": "failed"})
    varied = [key for key in (*results.plan.spec.grid, "seed") if key in runs]
    lines = []
    for _, row in runs.drop_duplicates("id").head(SHOWN).iterrows():
        lines.append(f"  failed {', '.join(f'{key} {row[key]}' for key in varied)}: {row['error']}")
    return [*lines, f"  and {count - SHOWN} more"] if count > SHOWN else lines

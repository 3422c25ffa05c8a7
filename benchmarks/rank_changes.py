"""What changed between two boards of the same tasks: ranks and values before and after, and the settings of the latter.

Usage: ``python benchmarks/rank_changes.py BEFORE AFTER``, two ``leaderboard.json``; it prints Markdown.
"""

import json
import sys
from pathlib import Path


def changes(before: dict, after: dict) -> list[list[str]]:
    """A row for each task and model of the board after, in the order of its ranks."""
    rows = []
    known = {t["task"]: {e["model"]: e for e in t["entries"]} for t in before["tasks"]}
    for task in after["tasks"]:
        for entry in task["entries"]:
            old = known.get(task["task"], {}).get(entry["model"])
            rows.append(
                [
                    task["task"],
                    f"`{entry['model']}`",
                    rank(old),
                    rank(entry),
                    value(old, task["metric"]),
                    value(entry, task["metric"]),
                    settings(entry),
                ]
            )
    return rows


def rank(entry: dict | None) -> str:
    return "" if entry is None or entry["rank"] is None else str(entry["rank"])


def value(entry: dict | None, metric: str) -> str:
    found = None if entry is None else entry["metrics"].get(metric, {}).get("value")
    return "" if found is None else f"{found:.3f}"


def settings(entry: dict) -> str:
    """What tuning chose; those at the edge of their range are marked."""
    tuning = entry.get("tuning")
    if tuning is None or not tuning["settings"]:
        return "its defaults"
    edge = set(tuning["at_edge"])
    return ", ".join(f"{n} {v}{' (edge)' if n in edge else ''}" for n, v in tuning["settings"].items())


def main(before: str, after: str) -> None:
    old, new = (json.loads(Path(p).read_text()) for p in (before, after))
    metrics = ", ".join(f"{t['task']} by {t['metric']}" for t in new["tasks"])
    trials = sum(e["tuning"]["seconds"] for t in new["tasks"] for e in t["entries"] if e.get("tuning"))
    print(f"Ranked: {metrics}. All trials together took {trials / 60:.0f} min of CPU time.\n")
    print("| task | model | rank before | rank | before | now | settings chosen on validation |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for row in changes(old, new):
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main(*sys.argv[1:])

"""The tasks, one file each. `Task` is what a task derives from, `Relations` what it sees, `Cohort` what it returns.

`visit_classes` is what a task makes of its parameter ``visit_class``, `Events` what was measured.
"""

__all__ = ["Attrition", "Candidates", "CodeSets", "Cohort", "Events", "Relations", "Task", "visit_classes"]


def __getattr__(name: str):
    if name in __all__:
        from zoo.tasks import _task

        return getattr(_task, name)
    raise AttributeError(f"module 'zoo.tasks' has no attribute {name!r}")

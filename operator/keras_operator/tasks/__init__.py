"""Tasks: Jobs that run to completion. A chain of tasks leads from the source's version to a bundle that can be served.

A new task is one file with a `Task`, and its place in `TASKS`.
"""

from __future__ import annotations

from keras_operator.tasks.base import Task
from keras_operator.tasks.prepare import PrepareTask

PREPARE = PrepareTask()

TASKS: tuple[Task, ...] = (PREPARE,)
"""The chain, in the order in which the tasks run."""

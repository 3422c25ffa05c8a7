"""The conformance kit: checks that a dataset, a task or a model of your own must pass, without pytest.

>>> from zoo.testing import check_task
>>> report = check_task("readmission", "synthetic", patients=200, subjects=10)
>>> report.passed, report.failures
(True, [])
"""

from zoo.testing._dataset import check_dataset
from zoo.testing._model import check_model
from zoo.testing._report import Report
from zoo.testing._task import check_task

__all__ = ["Report", "check_dataset", "check_model", "check_task"]

"""Nothing that the tests derive goes into the user's cache."""

import os

import pytest

from zoo.registry import datasets, models, tasks

ALONE = ("tests/test_check_model.py",)
"""Files whose tests share nothing that takes long to make."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Tests of one file go to one worker, so that what they share is made once."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.split("::", 1)[0]
            return nodeid if file in ALONE else file

    return ByFile(config, log)


@pytest.fixture(scope="session", autouse=True)
def session_cache(tmp_path_factory):
    """One cache for the session, whatever worker fills it; a test that needs an empty one sets ``ZOO_CACHE`` itself."""
    before = os.environ.get("ZOO_CACHE")
    folder = tmp_path_factory.getbasetemp()
    folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    os.environ["ZOO_CACHE"] = str(folder / "cache")
    yield
    if before is None:
        del os.environ["ZOO_CACHE"]
    else:
        os.environ["ZOO_CACHE"] = before


@pytest.fixture(autouse=True)
def examples_apart(request, tmp_path, monkeypatch):
    """Examples write their run folders into a folder of their own, and what they register is forgotten."""
    if not isinstance(request.node, pytest.DoctestItem):
        yield
        return
    monkeypatch.chdir(tmp_path)
    before = {registry: set(registry._entries) for registry in (datasets, models, tasks)}
    yield
    for registry, names in before.items():
        for name in set(registry._entries) - names - set(registry._modules()):
            del registry._entries[name]

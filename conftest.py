"""Nothing that the tests derive goes into the user's cache."""

import os

import pytest

from zoo.registry import datasets, models, tasks


@pytest.fixture(scope="session", autouse=True)
def session_cache(tmp_path_factory):
    """One cache for the whole session; a test that needs an empty one sets ``ZOO_CACHE`` itself."""
    before = os.environ.get("ZOO_CACHE")
    os.environ["ZOO_CACHE"] = str(tmp_path_factory.mktemp("cache"))
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

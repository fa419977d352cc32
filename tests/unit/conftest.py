"""What all unit tests share: files in memory, and the routes of the application, slow to make."""

import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import is_hypothesis_test
from starlette.applications import Starlette

from hedgerow.common.runtime import ticks
from hedgerow.common.settings.gateway import GatewaySettings
from hedgerow.gateway.access.control import AccessControl
from hedgerow.gateway.http import app
from hedgerow.gateway.http.app import create_routed_app
from tests.support.garbage import left_to_collector
from tests.support.memory_files import keep_temporary_files_in_memory
from tests.support.turns import take_turns
from tests.unit.shares import (
    LAST,
    are_claimed,
    claimed,
    is_first,
    keep_no_memory_in_children,
    own_share,
)

keep_temporary_files_in_memory()
keep_no_memory_in_children()

_MODULES = own_share(Path(__file__).parent.rglob("test_*.py"))


def pytest_configure(config: pytest.Config) -> None:
    """Tests of a ring that runs beside this one may need the machine."""
    take_turns(config)


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave modules to other processes if they share the tests (`python -m tests.unit`)."""
    is_module = collection_path.match("test_*.py")
    return True if is_module and collection_path not in _MODULES else None


class _StandIn:
    """Is what the test that uses it has."""

    def __init__(self) -> None:
        self._target: Any = None

    def be(self, target: Any) -> None:
        """Stand in for `target` from now on."""
        self._target = target

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)


class _Routes:
    """The routes for some settings, over whichever gateway."""

    def __init__(self, settings: GatewaySettings) -> None:
        self.settings = settings
        self._gateway = cast("Any", _StandIn())
        self._access = cast("Any", _StandIn())
        self._app = create_routed_app(self._gateway, settings, self._access)

    def over(self, gateway: Any, access: Any) -> Starlette:
        """The application over this gateway."""
        self._gateway.be(gateway)
        self._access.be(access)
        return self._app


@pytest.fixture(autouse=True, scope="session")
def _ticks_from_when_they_are_asked_for() -> Generator[None]:
    """In virtual time, what happens when is to be the same in each run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ticks, "draw_phase_s", lambda: 0.0)
        yield


_unused: list[_Routes] = []
_used: list[_Routes] = []


def _shared_routed_app(
    gateway: Any,
    settings: GatewaySettings,
    access: AccessControl | None = None,
    body: object = None,
) -> Starlette:
    """Have tests with equal settings use the same routes, one after the other.

    Three hundred tests have an application; each would take 15 ms to make.
    """
    fitting = (one for one in _unused if one.settings == settings)
    routes = next(fitting, None) or _Routes(settings)
    if routes in _unused:
        _unused.remove(routes)
    _used.append(routes)
    return routes.over(gateway, access or AccessControl(settings))


app.create_routed_app = _shared_routed_app


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run some modules last, and those with properties late in all processes but the first.

    In a fresh clone, the first property that runs has Hypothesis read the whole product for
    constants, which takes 2.5 s. It keeps them in files, which the other processes find then.

    Before the others of its kind comes what collects garbage: it goes through all that the tests
    before it have left, which later are millions of objects.
    """
    late = set(LAST)
    if not is_first():
        late |= {item.path.name for item in items if is_hypothesis_test(getattr(item, "obj", None))}
    items.sort(
        key=lambda item: (
            item.path.name in LAST,
            item.path.name in late,
            not _collects_garbage(item),
        )
    )
    if config.option.collectonly and are_claimed():  # each is listed once, as it would be run
        mine = set(claimed({item.path for item in items if item.path.name in LAST}))
        items[:] = [item for item in items if item.path.name not in LAST or item.path in mine]


def _collects_garbage(item: pytest.Item) -> bool:
    module = item.getparent(pytest.Module)
    return any(hasattr(module and module.obj, name) for name in ("gc", left_to_collector.__name__))


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """Run the share of this process, then each of the last modules that no other has begun."""
    if not are_claimed():
        return (yield)
    collected = session.items
    last: dict[Path, list[pytest.Item]] = {}
    for item in collected:
        if item.path.name in LAST:
            last.setdefault(item.path, []).append(item)
    session.items = [item for item in collected if item.path not in last]
    result = yield
    manager = session.config.pluginmanager
    run = manager.subset_hook_caller("pytest_runtestloop", [sys.modules[__name__]])
    for path in claimed(last):
        session.items = last[path]
        # It takes failures from before it began for errors of collection, and runs nothing.
        failed, session.testsfailed = session.testsfailed, 0
        run(session=session)
        session.testsfailed += failed
    session.items = collected
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    """Leave the routes that a test has used to the next."""
    result = yield
    for routes in _used:
        routes.over(None, None)
    _unused.extend(_used)
    _used.clear()
    return result

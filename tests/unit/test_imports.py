"""Who may import whom, and that every module loads by itself."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import aioscheduler

ROOT = Path(aioscheduler.__file__).parent
PACKAGE = "aioscheduler"
MODULES = sorted(
    ".".join((PACKAGE, *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
    for path in ROOT.rglob("*.py")
)
LEAVES = {"clock", "errors", "metrics"}
#: What each part may import besides itself; an entry with a dot is one module of a package.
ALLOWED: dict[str, set[str]] = {
    "clock": {"timerfd"},
    "timerfd": set(),
    "errors": set(),
    "metrics": set(),
    "domain": LEAVES,
    "store": LEAVES | {"domain"},
    "bots": LEAVES | {"domain"},
    "engine": LEAVES | {"domain", "store.base", "store.recurring", "bots.base"},
    "api": LEAVES | {"domain", "store.base", "store.recurring", "bots.base", "engine"},
    "config": LEAVES | {"domain"},
    "logs": LEAVES,
    "app": LEAVES | {"domain", "store", "bots", "engine", "api", "config"},
}
#: The process around the application: what it starts with, in the order of its own.
_ALL = LEAVES | {"domain", "store", "bots", "engine", "api", "config", "logs", "app"}
ALLOWED |= {
    "welcome": LEAVES | {"config"},
    "server": _ALL | {"welcome"},
    "worker": _ALL | {"server", "welcome"},
    "supervisor": _ALL | {"server", "welcome", "worker"},
    "check": _ALL | {"server"},
    "verify": _ALL | {"server"},
    "cli": _ALL | {"server", "supervisor", "check", "verify"},
    "__main__": {"cli"},
}


def imported(module: str, *, at_run_time: bool = False) -> set[str]:
    """Return the modules of ours that a module names in any import, also inside functions.

    :param at_run_time: leave out those that are for annotations only
    """
    path = ROOT.joinpath(*module.split(".")[1:])
    source = (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text()
    found: set[str] = set()
    tree = ast.parse(source)
    if at_run_time:
        tree.body = [
            node for node in tree.body if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test))
        ]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            assert node.module is not None
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else node.module for name in names}
    return {name for name in found if name.startswith(f"{PACKAGE}.")}


@pytest.mark.parametrize("module", [module for module in MODULES if module != PACKAGE])
def test_imports_go_down_the_layers_only(module: str) -> None:
    part = module.split(".")[1]
    for name in imported(module):
        below = name.split(".", 1)[1]
        layer = below.split(".")[0]
        assert layer == part or layer in ALLOWED[part] or below in ALLOWED[part], f"{module} imports {name}"


def test_no_module_of_ours_imports_itself_by_way_of_another() -> None:
    done: set[str] = set()

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " -> ".join((*way, module))
        if module not in done:
            for name in imported(module, at_run_time=True):
                visit(name, (*way, module))
            done.add(module)

    for module in MODULES:
        visit(module, ())


#: Third parties are loaded once; each module of ours then loads alone in a process forked from there.
_LOAD = """
import importlib, os, sys
for name in ("aiohttp.web", "dotenv", "hiredis", "marshmallow", "prometheus_client", "redis.asyncio", "structlog"):
    importlib.import_module(name)
failed = []
for name in sys.argv[1:]:
    child = os.fork()
    if child == 0:
        try:
            importlib.import_module(name)
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        failed.append(name)
sys.exit(f"cannot be imported alone: {failed}" if failed else 0)
"""


@pytest.mark.parametrize("part", range(5))
def test_every_module_loads_alone_without_a_warning(part: int) -> None:
    modules = [module for module in MODULES if not module.endswith("__main__")][part::5]
    loading = subprocess.run(
        [sys.executable, "-W", "error", "-c", _LOAD, *modules],
        env={"PYTHONPATH": str(ROOT.parent)},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert loading.returncode == 0, loading.stderr

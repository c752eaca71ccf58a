"""Finds imports inside functions that save nothing: ``make check`` fails on each.

An import inside a function costs a reader an explanation. It stays only for one of these reasons:

- it keeps a heavy library (requests, SQLAlchemy, Airflow's own modules, ...) out of a process that does not need it;
- a DAG file imports the module, and the import keeps a big room of ours out of the parsing of DAG files.

Modules of ``domain`` and ``wire`` are light, and every other room needs them: they are imported at the top of a file.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "airflow_provider_proxyorders"

LIGHT_ROOMS = {"domain", "wire"}
#: a DAG file imports modules of these rooms, and each task process imports the plugin, so what they import must stay small
ROOMS_OF_DAG_FILES = {"operators", "sensors", "tasks", "triggers", "hooks", "plugin"}
#: rooms that a DAG file does not need before its task runs
ROOMS_OF_RUNNING_TASKS = {"purchase", "ledger", "transport", "vendors", "renewal", "wallet", "delivery", "triggers", "hooks"}
HEAVY = {
    "aiohttp",
    "airflow",
    "alembic",
    "certifi",
    "fastapi",
    "lmdb",  # not installed everywhere, like zstandard
    "psycopg",
    "requests",
    "sqlalchemy",
    "starlette",
    "tenacity",
    "urllib3",
    "uvicorn",
    "yarl",
    "zstandard",
}


@dataclass(frozen=True)
class Import:
    """One module or name, imported inside a function.

    :param targets: the modules that this loads, the named one first.
    """

    line: int
    targets: tuple[str, ...]


@dataclass
class Module:
    """One file of the package.

    :param top: modules that are imported with it.
    :param late: modules that a package imports once a name of it is used (its ``__getattr__``).
    :param inside: imports inside its functions.
    """

    name: str
    path: Path
    tree: ast.Module = field(repr=False)
    top: set[str] = field(default_factory=set)
    late: set[str] = field(default_factory=set)
    inside: list[Import] = field(default_factory=list)

    @property
    def room(self) -> str:
        return room_of(self.name)


class House:
    """The imports of every module of a package.

    :param already: modules that a process has loaded before it reads a DAG file.
    """

    def __init__(self, folder: Path, already: frozenset[str] = frozenset()):
        self.folder = folder
        self.already = already
        self.modules: dict[str, Module] = {}
        for path in sorted(folder.rglob("*.py")):
            name = ".".join(path.relative_to(folder.parent).with_suffix("").parts).removesuffix(".__init__")
            self.modules[name] = Module(name, path, ast.parse(path.read_text(encoding="utf-8")))
        for module in self.modules.values():
            if module.path.name == "__init__.py":
                module.late = {
                    target
                    for node, function in _imports(module.tree, "")
                    if function == "__getattr__"
                    for targets in self._targets(node)
                    for target in targets
                }
        for module in self.modules.values():
            self._read(module)

    def _read(self, module: Module) -> None:
        for node, function in _imports(module.tree, ""):
            for targets in self._targets(node):
                if not function:
                    module.top |= set(targets)
                elif function != "__getattr__" or not module.late:
                    module.inside.append(Import(node.lineno, targets))

    def _targets(self, node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, ...]]:
        """The loaded modules for each name of an import statement."""
        if isinstance(node, ast.Import):
            yield from ((alias.name,) for alias in node.names)
            return
        source = str(node.module)
        for alias in node.names:
            submodule = f"{source}.{alias.name}"
            if submodule in self.modules:
                yield (submodule,)
            elif source in self.modules:
                yield (source, *sorted(self.modules[source].late))
            else:
                yield (source,)

    def loaded_with(self, name: str) -> set[str]:
        """All modules loaded by the import of a module, its own parents included."""
        loaded: set[str] = set()
        waiting = [name]
        while waiting:
            current = waiting.pop()
            if current in loaded:
                continue
            loaded.add(current)
            if current in self.modules:
                waiting += self.modules[current].top
                waiting += [current.rpartition(".")[0]] if "." in current else []
        return loaded

    def faults(self) -> Iterator[str]:
        """Every import that belongs to the top of its file."""
        for module in self.modules.values():
            for late in module.inside:
                reasons = [self._why_not(module, target) for target in late.targets]
                if all(reasons):
                    yield f"{module.path.relative_to(self.folder.parent)}:{late.line}: {late.targets[-1]}: {reasons[-1]}"

    def _why_not(self, module: Module, target: str) -> str | None:
        """Why an import belongs to the top of the file; None when it is better inside."""
        if target in self.modules:
            return self._why_not_ours(module, target)
        package = target.partition(".")[0]
        if package in HEAVY:
            if target in self.loaded_with(module.name):
                return "the file imports it at the top already"
            in_dag_files = module.room in ROOMS_OF_DAG_FILES
            # airflow.sdk itself loads its parts late, so that it can be loaded and a name of it cannot
            saves = target == "airflow.sdk" or target not in self.already
            return "Airflow loads it before it reads a DAG file" if in_dag_files and not saves else None
        if package in sys.stdlib_module_names and target not in self.already:
            return None
        return "it is light"

    def _why_not_ours(self, module: Module, target: str) -> str | None:
        if room_of(target) in LIGHT_ROOMS:
            return f"modules of {room_of(target)} are light"
        loaded = self.loaded_with(module.name)
        if target in loaded:
            return "the file imports it at the top already"
        if module.room in ROOMS_OF_DAG_FILES and room_of(target) in ROOMS_OF_RUNNING_TASKS:
            return None
        heavy = {name for name in self.loaded_with(target) - loaded if name.partition(".")[0] in HEAVY}
        return None if heavy else "it brings no heavy library"


def room_of(name: str) -> str:
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else ""


def _imports(node: ast.AST, function: str) -> Iterator[tuple[ast.Import | ast.ImportFrom, str]]:
    """Every import with the name of the function around it; those for type checkers are left out."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.Import, ast.ImportFrom)):
            yield child, function
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        elif isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from _imports(child, child.name)
        else:
            yield from _imports(child, function)


def loaded_by_airflow() -> frozenset[str]:
    """Modules in a process right after ``from airflow.sdk import DAG``."""
    script = "import sys; from airflow.sdk import DAG; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    return frozenset(done.stdout.splitlines()[-1].split())


def main() -> int:
    faults = list(House(ROOT / PACKAGE, loaded_by_airflow()).faults())
    print(*dict.fromkeys(faults), sep="\n", end="\n" if faults else "")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())

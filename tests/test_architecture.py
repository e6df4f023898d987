"""The house rules that no linter knows: who may import whom, who owns which name, how big.

Each rule is a function from a source tree to the violations in it; each is shown to find one.
"""

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parent.parent

# A unit may import itself and these. What is further down is listed too: arrows are transitive.
_BASE: Final = frozenset({"", "errors", "config"})
_LAYERS: Final[Mapping[str, frozenset[str]]] = {
    "": frozenset(),
    "errors": frozenset(),
    "values": frozenset(),
    "mounttable": frozenset(),
    "state": frozenset(),
    "config": frozenset({"errors"}),
    "options": frozenset({"values", "config", "errors", "cos"}),
    "settings": frozenset({"options", "values", "config", "errors"}),
    "emulator": frozenset(),
    "cos": _BASE,
    "transfer": _BASE | {"cos", "state"},
    "namespace": _BASE | {"cos", "state"},
    "fs": _BASE | {"cos", "transfer", "namespace"},
    "fuse": _BASE | {"cos", "transfer", "namespace", "fs", "mounttable"},
    "control": _BASE,
    "mount": _BASE | {"cos", "transfer", "namespace", "fs", "fuse", "state", "control"},
    "cli": _BASE
    | {"cos", "transfer", "mount", "emulator", "values", "options", "settings", "mounttable"}
    | {"state"},
}

# errno: constants of the filesystem in fuse/errnos.py; elsewhere a system call's own answer.
_OWNERS: Final[Mapping[str, tuple[str, ...]]] = {
    "pyfuse3": ("fuse/",),
    "httpx": ("cos/",),
    "httptools": ("cos/connection.py",),
    "h11": ("emulator/server.py",),
    "errno": ("fuse/errnos.py", "fuse/device.py", "cli/mountpoint.py"),
}

# Where a bug must not go further: the error boundaries, and the outermost frame of a task of the
# mount's nursery, which would end the mount.
_CATCH_ALL: Final = (
    "control.py",
    "fuse/errnos.py",
    "cli/",
    "fs/filesystem.py",
    "fs/openfiles.py",
    "fs/lateattributes.py",
    "namespace/parallel.py",
    "namespace/removals.py",
    "transfer/blocks.py",
    "transfer/upload.py",
)

MAX_FILE_LINES: Final = 600
MAX_FUNCTION_LINES: Final = 60
MAX_PARAMETERS: Final = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A module: its path below the package, its dotted name, its text and tree."""

    path: str
    module: str
    text: str
    tree: ast.Module

    @property
    def unit(self) -> str:
        """The package or top-level module it belongs to; "" for the package's own __init__."""
        return unit_of(self.module)


Rule = Callable[[Sequence[Source]], Iterator[str]]


def unit_of(module: str) -> str:
    return ([*module.split("."), ""])[1]


def read_sources(root: Path) -> list[Source]:
    sources = []
    for file in sorted((root / "cosfs").rglob("*.py")):
        path = file.relative_to(root / "cosfs")
        parts = [part for part in path.with_suffix("").parts if part != "__init__"]
        text = file.read_text(encoding="utf-8")
        sources.append(
            Source(
                path=path.as_posix(),
                module=".".join(["cosfs", *parts]),
                text=text,
                tree=ast.parse(text),
            )
        )
    return sources


def imports_of(tree: ast.AST, modules: frozenset[str]) -> Iterator[tuple[int, str]]:
    """Line and full name of each module that *tree* imports, at any depth."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield node.lineno, name if name in modules else node.module or "."


def names_of(sources: Sequence[Source]) -> frozenset[str]:
    return frozenset(source.module for source in sources)


def imports_go_downward(sources: Sequence[Source]) -> Iterator[str]:
    modules = names_of(sources)
    for source in sources:
        for line, name in imports_of(source.tree, modules):
            if name.split(".")[0] != "cosfs":
                continue
            unit = unit_of(name)
            if unit not in _LAYERS.get(source.unit, frozenset()) | {source.unit}:
                yield f"{source.path}:{line}: {source.unit or 'cosfs'} may not import {name}"


def outside_names_have_one_owner(sources: Sequence[Source]) -> Iterator[str]:
    for source in sources:
        for line, name in imports_of(source.tree, frozenset()):
            owners = _OWNERS.get(name.split(".")[0])
            if owners is not None and not source.path.startswith(owners):
                yield f"{source.path}:{line}: {name} belongs to {', '.join(owners)}"


def imports_are_absolute(sources: Sequence[Source]) -> Iterator[str]:
    for source in sources:
        for node in ast.walk(source.tree):
            if isinstance(node, ast.ImportFrom) and node.level:
                yield f"{source.path}:{node.lineno}: relative import"


def imports_have_no_cycle(sources: Sequence[Source]) -> Iterator[str]:
    modules = names_of(sources)
    graph = {
        source.module: {name for _, name in imports_of(source.tree, modules) if name in modules}
        for source in sources
    }
    # What imports nothing that is left is in no cycle: take such modules away until none is left.
    while free := [module for module, imported in graph.items() if not imported]:
        for module in free:
            del graph[module]
        for imported in graph.values():
            imported.difference_update(free)
    if graph:
        yield f"in or above an import cycle: {', '.join(sorted(graph))}"


def imports_in_functions_are_for_cli(sources: Sequence[Source]) -> Iterator[str]:
    for source in sources:
        for function in functions_of(source):
            for line, name in imports_of(function, frozenset()):
                if source.unit != "cli":
                    yield f"{source.path}:{line}: {name} is imported inside a function"


def type_checking_hides_nothing(sources: Sequence[Source]) -> Iterator[str]:
    for source in sources:
        for node in ast.walk(source.tree):
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                for line, name in imports_of(node, frozenset()):
                    if name.split(".")[0] == "cosfs":
                        yield f"{source.path}:{line}: {name} is imported under TYPE_CHECKING"


def exceptions_are_caught_by_name(sources: Sequence[Source]) -> Iterator[str]:
    """BaseException may be caught to clean up and raise it again."""
    for source in sources:
        if source.path.startswith(_CATCH_ALL):
            continue
        for node in ast.walk(source.tree):
            if not isinstance(node, ast.ExceptHandler):
                continue
            caught = "" if node.type is None else ast.unparse(node.type)
            last = node.body[-1]
            again = isinstance(last, ast.Raise) and last.exc is None
            if caught in ("", "Exception") or (caught == "BaseException" and not again):
                yield f"{source.path}:{node.lineno}: except {caught}"


def files_are_short(sources: Sequence[Source]) -> Iterator[str]:
    for source in sources:
        lines = len(source.text.splitlines())
        if lines > MAX_FILE_LINES:
            yield f"{source.path}: {lines} lines"


def functions_of(source: Source) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def functions_are_short(sources: Sequence[Source]) -> Iterator[str]:
    for source in sources:
        for function in functions_of(source):
            lines = (function.end_lineno or 0) - function.lineno + 1
            if lines > MAX_FUNCTION_LINES:
                yield f"{source.path}:{function.lineno}: {function.name} has {lines} lines"


def functions_take_few_parameters(sources: Sequence[Source]) -> Iterator[str]:
    for source in sources:
        for function in functions_of(source):
            arguments = function.args
            names = [
                argument.arg
                for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
                if argument.arg not in ("self", "cls")
            ]
            if len(names) > MAX_PARAMETERS and not is_error_constructor(function, source):
                yield f"{source.path}:{function.lineno}: {function.name} takes {len(names)}"


def is_error_constructor(function: ast.FunctionDef | ast.AsyncFunctionDef, source: Source) -> bool:
    """An exception's fields, by keyword, are as many as what happened has."""
    return source.path == "errors.py" and function.name == "__init__"


# Each rule with a tree that breaks it: path below cosfs/ → text.
PLANTED: Final[Sequence[tuple[Rule, Mapping[str, str]]]] = (
    (imports_go_downward, {"cos/client.py": "from cosfs.fs import handles"}),
    (imports_go_downward, {"namespace/tree.py": "import cosfs.transfer.memory"}),
    (imports_go_downward, {"transfer/a.py": "from cosfs import mount", "mount.py": ""}),
    (imports_go_downward, {"emulator/api.py": "from cosfs.errors import CosfsError"}),
    (imports_go_downward, {"stray.py": "from cosfs.errors import CosfsError"}),
    (imports_go_downward, {"fs/a.py": "def f():\n    from cosfs.fuse import session"}),
    (outside_names_have_one_owner, {"fs/filesystem.py": "import pyfuse3"}),
    (outside_names_have_one_owner, {"transfer/upload.py": "from httpx import URL"}),
    (outside_names_have_one_owner, {"emulator/api.py": "import h11"}),
    (outside_names_have_one_owner, {"fs/handles.py": "from errno import EIO"}),
    (imports_are_absolute, {"fs/a.py": "from . import b"}),
    (
        imports_have_no_cycle,
        {"fs/a.py": "import cosfs.fs.b", "fs/b.py": "from cosfs.fs.a import x"},
    ),
    (imports_in_functions_are_for_cli, {"fs/a.py": "def f():\n    import json"}),
    (
        type_checking_hides_nothing,
        {"fs/a.py": "if TYPE_CHECKING:\n    from cosfs.fs import b"},
    ),
    (
        exceptions_are_caught_by_name,
        {"fs/a.py": "try:\n    pass\nexcept Exception:\n    raise"},
    ),
    (exceptions_are_caught_by_name, {"fs/a.py": "try:\n    pass\nexcept:\n    raise"}),
    (
        exceptions_are_caught_by_name,
        {"fs/a.py": "try:\n    pass\nexcept BaseException:\n    pass"},
    ),
    (files_are_short, {"fs/a.py": "\n" * (MAX_FILE_LINES + 1)}),
    (functions_are_short, {"fs/a.py": "def f():\n" + "    f()\n" * MAX_FUNCTION_LINES}),
    (functions_take_few_parameters, {"fs/a.py": "def f(a, b, c, d, *, e, g, h): ..."}),
)

RULES: Final = tuple(dict.fromkeys(rule for rule, _ in PLANTED))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_sources_keep(rule: Rule) -> None:
    sources = read_sources(ROOT)

    assert len(sources) > 10
    assert list(rule(sources)) == []


@pytest.mark.parametrize(("rule", "files"), PLANTED)
def test_rule_finds_a_planted_violation(
    rule: Rule, files: Mapping[str, str], tmp_path: Path
) -> None:
    for path, text in files.items():
        file = tmp_path / "cosfs" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    violations = list(rule(read_sources(tmp_path)))

    assert violations
    assert any(next(iter(files)) in violation for violation in violations) or (
        rule is imports_have_no_cycle
    )


def test_sources_with_every_rule_kept_pass(tmp_path: Path) -> None:
    """The rules do not object to everything."""
    for path, text in {
        "fuse/session.py": "import pyfuse3\nfrom cosfs.fs import filesystem",
        "fs/filesystem.py": "try:\n    pass\nexcept BaseException:\n    raise",
        "cli/main.py": "def f():\n    import json\n    try: ...\n    except Exception: ...",
    }.items():
        file = tmp_path / "cosfs" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    sources = read_sources(tmp_path)

    assert [violation for rule in RULES for violation in rule(sources)] == []

"""Style as tests: sizes, names, the one write path, the one place that reads the environment."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from api.command import app
from ledger.tables import APPEND_ONLY, POSITIONS, REGISTRY, SEARCH, VERSIONS

ROOT = Path(__file__).parents[1]
PACKAGES = ("ledger", "api", "reports", "scanners", "loadtests")
FILE_LINES_MAX, FUNCTION_LINES_MAX = 500, 60
BANNED = {"utils", "helpers", "common", "core", "base", "managers", "services", "handlers", "misc"}
WRITERS = {
    "ledger/append.py": "the write path",
    "ledger/packs/positions.py": "moves packs within append's transaction: append alone makes its Positions",
    "ledger/log.py": "the integrator its own tables",
    "ledger/erase.py": "sealed columns, as the eraser",
    "ledger/reseal.py": "private values under another key, as the eraser",
}
NO_WRITES = {
    "ledger/rows.py": "the form of the COPY that append makes",
    "api/demo.py": "changes a byte as the superuser, past every right, to show that audit finds it",
    "loadtests/capture.py": "the plain COPY that capture is measured against, in a database of its own",
}
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|NotImplementedError)\b")
TABLES = "|".join(table.name for table in (*APPEND_ONLY, *POSITIONS, *REGISTRY, VERSIONS, SEARCH))
WRITE = re.compile(
    rf"\b(INSERT\s+INTO|UPDATE|DELETE\s+FROM|TRUNCATE(\s+TABLE)?|COPY|MERGE\s+INTO)\s+(ONLY\s+)?[\"']?({TABLES})\b",
    re.I,
)
BUILT = re.compile(rf"\b(insert|update|delete)\(\s*({TABLES})(_table)?\b")


def files() -> Iterator[Path]:
    for package in PACKAGES:
        yield from (path for path in (ROOT / package).rglob("*.py") if "migrations/versions" not in str(path))


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def texts(path: Path) -> Iterator[str]:
    """Every string of a module that is no docstring: where SQL is."""
    tree = ast.parse(path.read_text())
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {id(node.body[0].value) for node in ast.walk(tree) if isinstance(node, documented) and node.body
                  and isinstance(node.body[0], ast.Expr)}  # fmt: skip
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value
        if isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "?" for part in node.values)


def test_there_is_something_to_look_at() -> None:
    assert {path.parent.name for path in files()} >= set(PACKAGES) and sum(1 for _ in files()) > 50


def test_files_are_short() -> None:
    long = {name(path): lines for path in files() if (lines := len(path.read_text().splitlines())) > FILE_LINES_MAX}
    assert long == {}


def test_functions_are_short() -> None:
    long = {
        f"{name(path)}:{node.name}": node.end_lineno - node.lineno + 1
        for path in files()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno - node.lineno + 1 > FUNCTION_LINES_MAX
    }
    assert long == {}


def test_no_module_is_named_for_nothing() -> None:
    assert [name(path) for path in files() if BANNED & {path.stem, *path.relative_to(ROOT).parts[:-1]}] == []


def test_only_the_write_path_writes_ledger_tables() -> None:
    found = {name(path) for path in files() for text in texts(path) if WRITE.search(text)}
    built = {name(path) for path in files() if BUILT.search(path.read_text())}
    assert (found | built) - set(NO_WRITES) <= set(WRITERS)
    assert {"ledger/log.py", "ledger/erase.py", "ledger/packs/positions.py"} <= found, "the search would find them"


def reached(path: Path, module: str) -> set[str]:
    """The names of `module` that a file imports or reaches through it; "*" for the module itself."""
    package, _, last = module.rpartition(".")
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == module:
            names |= {one.name for one in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == package:
            names |= {"*" for one in node.names if one.name in (last, "*")}
        elif isinstance(node, ast.Import):
            names |= {"*" for one in node.names if one.name == module}
        elif isinstance(node, ast.Constant) and node.value == module:  # import_module
            names.add("*")
    return names


def test_only_append_moves_packs() -> None:
    """Who else made a `Positions` would write packs that no entry speaks of."""
    found = {name(path): names for path in files() if (names := reached(path, "ledger.packs.positions"))}
    assert {path for path, names in found.items() if names & {"Positions", "*"}} == {"ledger/append.py"}
    assert len(found) > 1, "the search would find them"
    reading = {"Row", "read_rows", "row_of"}
    assert {word for path, names in found.items() for word in names if path != "ledger/append.py"} <= reading


@pytest.mark.parametrize(
    "text", ["INSERT INTO entry (x)", "update head set", "DELETE FROM event_id", "COPY tile FROM", "TRUNCATE node"]
)
def test_the_search_for_writes_finds_them(text: str) -> None:
    assert WRITE.search(text) and not WRITE.search(text.replace(" ", " my_"))


def test_only_the_settings_read_the_environment() -> None:
    """A setting read elsewhere is one that no table of the README names."""
    readers = re.compile(r"\bos\.(environ|getenv)\b|from os import .*(environ|getenv)")
    assert {name(path) for path in files() if readers.search(path.read_text())} == {"ledger/settings.py"}


def test_nothing_is_left_for_later() -> None:
    assert [name(path) for path in files() if UNFINISHED.search(path.read_text())] == []


def test_only_the_table_of_statuses_speaks_http_errors() -> None:
    assert [name(path) for path in files() if "raise HTTPException" in path.read_text()] == []


def test_the_readme_names_no_command_that_is_gone() -> None:
    readme = (ROOT / "README.md").read_text()
    commands = set(re.findall(r"^(?:\$ |    )?(?:\.venv/bin/)?suyuan ([a-z]+)", readme, re.M))
    assert commands <= set(typer.main.get_command(app).commands) and len(commands) > 8

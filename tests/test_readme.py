"""The README cannot rot: its commands run, and every setting, route, command and dependency is named in it."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer
from fastapi.routing import APIRoute

from api.app import create_app
from api.command import app
from api.ledger import Ledger
from ledger import documents, drafts, fields, gs1, lanes, trace
from ledger.registers import REGISTERS
from ledger.settings import NAMES

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_its_commands_run(scratch: Path, tmp_path: Path) -> None:
    """Step by step in one shell, as a newcomer would."""
    if shutil.which("curl") is None:
        if os.environ.get("CI"):
            pytest.fail("CI needs curl for the README's commands")
        pytest.skip("the README's HTTP commands need curl")
    blocks = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 11
    work = tmp_path / "checkout"
    for folder in ("tests/vectors", "ledger/rules/shipped"):
        shutil.copytree(ROOT / folder, work / folder)
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(tmp_path), "LC_ALL": "C.UTF-8",
        "SUYUAN_DATA": str(scratch / "readme"), "SUYUAN_KEYS": str(tmp_path / "keys"),
    }  # fmt: skip
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n" + "\n".join(blocks)],
        cwd=work, env=environment, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "everything agrees" in done.stdout and "proved: entry" in done.stdout
    assert '"success":true' in done.stdout and "suyuan.example/log\n" in done.stdout


def test_every_setting_is_in_it() -> None:
    assert [
        name
        for name in NAMES
        if f"| `{name}` | {NAMES[name].replace('migrate and erase', '`migrate` and `erase`')}" not in README
    ] == []


def test_every_route_is_in_it(ledger: Ledger) -> None:
    """Also when the next one is added."""
    routes = [route for route in create_app(ledger).routes if isinstance(route, APIRoute)]
    named = {
        f"{method} {route.path.replace(':path', '')}"
        for route in routes
        for method in route.methods
        if method != "HEAD"
    }
    assert {name for name in named if f"`{name}`" not in README} == set()


def test_every_command_is_in_it() -> None:
    group = typer.main.get_command(app)
    registers = {register.name for register in REGISTERS}
    names = set(registers)
    for name, command in group.commands.items():
        subs = getattr(command, "commands", None)
        names |= {name} if subs is None else {sub if name in registers else f"{name} {sub}" for sub in subs}
    listed = README.split("## Commands")[1].split("## ")[0]
    assert {name for name in names if f"`{name}`" not in listed.replace("`suyuan ", "`")} == set()


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["dev"]
    names = [re.match(r"[a-z0-9-]+", requirement)[0] for requirement in wanted]
    reasons = README.split("## Dependencies")[1]
    assert [name for name in names if not re.search(rf"\b{name}\b", reasons)] == []


def test_its_limits_are_the_code_s() -> None:
    limits = README.split("## Limits")[1].split("## ")[0]
    for number in (
        f"{documents.BODY_BYTES_MAX >> 20} MiB, {documents.EVENTS_MAX:,} events",
        f"{drafts.EVENT_BYTES_MAX >> 20} MiB, {drafts.EVENT_ITEMS_MAX:,} items",
        f"{fields.DEPTH_MAX} levels", f"{gs1.URI_LENGTH_MAX:,} characters",
        f"{lanes.WAITING_ENTRIES_MAX:,} entries", f"{trace.DEPTH_MAX} steps, {trace.EVENTS_MAX:,} events",
    ):  # fmt: skip
        assert number in limits, number


def test_every_module_has_its_place_in_it() -> None:
    """A newcomer who follows the way of the data meets every file."""
    modules = [
        *ROOT.glob("ledger/*.py"),
        *ROOT.glob("api/*.py"),
        *ROOT.glob("scanners/*.py"),
        *ROOT.glob("reports/*.py"),
    ]
    names = {str(path.relative_to(ROOT)) for path in modules if path.name != "__init__.py"}
    told_elsewhere = {
        "ledger/errors.py", "api/problems.py", "api/ledger.py", "api/examples.py", "api/serve.py", "api/health.py",
        "api/registry.py", "api/paths.py", "api/credentials.py",
    }  # fmt: skip
    assert {name for name in names - told_elsewhere if f"`{name}`" not in README} == set()

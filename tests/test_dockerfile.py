"""What can be checked of the Dockerfile without Docker: it copies what is there, and starts a command that exists."""

import json
import re
import tomllib
from pathlib import Path

import pytest
from typer.main import get_command

from pipeline.commands.app import app

HOUSE = Path(__file__).parents[1]
TEXT = re.sub(r"\\\n", " ", (HOUSE / "Dockerfile").read_text(encoding="utf-8"))
STEPS = [tuple(line.split(maxsplit=1)) for line in TEXT.splitlines() if line and not line.startswith("#")]
PROJECT = tomllib.loads((HOUSE / "pyproject.toml").read_text(encoding="utf-8"))


def steps(name):
    return [words for step, words in STEPS if step == name]


def test_it_copies_paths_that_exist_and_all_that_an_installation_needs():
    copied = [word for words in steps("COPY") for word in words.split()[:-1]]
    assert all((HOUSE / word).exists() for word in copied)
    sources = PROJECT["tool"]["setuptools"]
    packages = {name for name in sources["packages"]["find"]["include"] if "." not in name and "-" not in name}
    modules = {f"{name}.py" for name in sources["py-modules"]}
    files = {PROJECT["project"]["readme"], *PROJECT["project"]["license-files"], "pyproject.toml"}
    assert set(copied) == packages | modules | files
    ignored = (HOUSE / ".dockerignore").read_text(encoding="utf-8").split()
    assert {line[1:] for line in ignored if line.startswith("!")} == set(copied)


def test_it_installs_extras_that_exist_and_all_that_serving_needs():
    [extras] = re.findall(r'"/src\[(.+?)\]"', TEXT)
    assert set(extras.split(",")) <= set(PROJECT["project"]["optional-dependencies"])
    assert {"serve", "fast"} <= set(extras.split(","))
    assert '"torch>=2.10"' in TEXT
    assert "torch>=2.10" in PROJECT["project"]["dependencies"]


def test_the_server_does_not_run_as_root():
    [user] = steps("USER")
    assert user not in {"root", "0"}
    assert f"useradd --create-home --uid 10001 {user}" in TEXT
    order = [step for step, _ in STEPS]
    assert order.index("USER") < order.index("ENTRYPOINT")
    assert "RUN" not in order[order.index("USER") :], "what is installed belongs to root"


def test_it_starts_a_command_line_that_parses():
    [entry], [rest] = steps("ENTRYPOINT"), steps("CMD")
    words = [*json.loads(entry), *json.loads(rest)]
    assert words[0] in PROJECT["project"]["scripts"]
    command = get_command(app).commands[words[1]]
    parser = command.make_parser(command.make_context("serve", [], resilient_parsing=True))
    values, arguments, _ = parser.parse_args(words[2:])
    assert values == {"host": "0.0.0.0", "port": "8000", "bundle": "/bundle"}
    assert arguments == []
    assert steps("EXPOSE") == ["8000"]
    health = next(words for step, words in STEPS if step == "HEALTHCHECK")
    assert "http://127.0.0.1:8000/health" in health
    compile(json.loads(health[health.index("[") :])[2], "HEALTHCHECK", "exec")


@pytest.mark.parametrize("name", ["FACELINE_CACHE", "FACELINE_TOKEN"])
def test_the_variables_that_it_names_are_read(name):
    assert name in TEXT
    modules = [path for room in ("cache", "pipeline") for path in (HOUSE / room).rglob("*.py")]
    assert any(name in path.read_text(encoding="utf-8") for path in modules)

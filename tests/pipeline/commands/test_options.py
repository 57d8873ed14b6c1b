"""The shared options: who has them, what is refused before anything heavy is loaded, and the next command."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from pipeline.commands import app as cli
from pipeline.commands.options import SharedOptions
from tests.pipeline.conftest import faceline

HOUSE = Path(__file__).parents[3]
HEAVY = {"torch", "timm", "cv2", "sklearn", "albumentations", "matplotlib", "facenet_pytorch"}
COMMON = {"--config", "--set", "--cache", "--device", "--workers", "--json", "--quiet"}


def commands():
    for name, command in get_command(cli.app).commands.items():
        for words in [[name, sub] for sub in getattr(command, "commands", {})] or [[name]]:
            yield " ".join(words), command.commands[words[1]] if len(words) > 1 else command


def test_every_command_that_reads_photos_or_runs_networks_has_the_common_options():
    lacking = {
        name: sorted(COMMON - {option for parameter in command.params for option in parameter.opts})
        for name, command in commands()
    }
    only_files = {  # of a run, of predictions, or of the cache
        "evaluate": ["--cache", "--device", "--workers"],
        "report": ["--config", "--set", "--workers"],
        "vote": ["--cache", "--device", "--workers"],
        "review": ["--device"],
        "serve": ["--config", "--set"],
    }
    for name in ("cache stats", "cache verify", "cache import", "cache gc"):
        only_files[name] = ["--config", "--device", "--set", "--workers"]
    for name in (
        "bundle inspect", "bundle verify", "bundle card", "bundle zip", "export", "runs list", "runs diff", "submit",
    ):  # fmt: skip
        only_files[name] = ["--cache", "--config", "--device", "--set", "--workers"]
    assert {name: options for name, options in lacking.items() if options} == only_files


def refused(words, cwd):
    """Run a command in a process of its own; returns its exit code, its message and the heavy modules it loaded."""
    code = (
        "import sys\nfrom pipeline.commands.app import main\n"
        f"sys.argv[1:] = {[str(word) for word in words]!r}\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    print(stop.code, *sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(HOUSE)}
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False, cwd=cwd, env=environment
    )
    exit_code, *modules = done.stdout.split()
    return int(exit_code), done.stderr, set(modules) & HEAVY


@pytest.mark.parametrize(
    ("words", "message"),
    [
        *(([*name.split(), "nowhere"], "no folder or table nowhere") for name in ("check", "detect", "train", "run")),
        ("distill nowhere --teacher B --out R", "no folder or table nowhere"),
        ("compare nowhere A.yaml --out R", "no folder or table nowhere"),
        ("labels suspects nowhere --run R --out D", "no folder or table nowhere"),
        ("cache pack nowhere", "no folder or table nowhere"),
        ("train DATA --device gpu", "--device gpu: it is auto"),
        ("train DATA --config no.yaml", "there is no file no.yaml"),
        ("run DATA --set train.epoch=1", "did you mean epochs"),
        ("compare DATA no.yaml --out R", "there is no file no.yaml"),
        ("distill DATA --teacher no --out R", "--teacher no: it is no finished run"),
        ("detect DATA --engine cloud", "--engine cloud"),
        ("detect DATA --shard 3/2", "--shard 3/2"),
        ("detect DATA --sheet sheet.gif", "must end in .png or .jpg"),
        ("predict no.jpg --bundle B", "no photo, folder or table no.jpg"),
        ("predict DATA --bundle no", "no is no bundle"),
        ("report no", "no holds no finished run"),
        ("vote no no --out D", "no holds no finished run"),
        ("evaluate no.csv --truth no.csv", "there is no file no.csv"),
        ("labels apply no.csv DATA", "there is no file no.csv"),
        ("labels tomek DATA --run no --out D", "no holds no run"),
        ("demo DATA", "holds something else"),
    ],
    ids=str,
)
def test_what_is_wrong_is_said_before_anything_heavy_is_loaded(words, message, drawn, tmp_path):
    words = words.split() if isinstance(words, str) else words
    (tmp_path / "B").mkdir()
    (tmp_path / "B" / "bundle.json").write_text("{}")
    code, said, heavy = refused([drawn if word == "DATA" else word for word in words], tmp_path)
    assert code in {1, 2}
    assert message in said
    assert not heavy


def next_of(printed):
    """The words of the command that a command names last."""
    [line] = [line for line in printed.stdout.splitlines() if line.startswith("Next: ")]
    program, *words = shlex.split(line.removeprefix("Next: "))
    assert program == "faceline"
    return words


def test_the_next_lines_lead_from_check_to_predict(some_data, shared_cache, tmp_path, monkeypatch):
    data = some_data.rename(tmp_path / "my data; it's here")
    config, columns, cache = tmp_path / "my config.yaml", tmp_path / "columns.yaml", tmp_path / "my cache"
    shared_cache.mkdir(parents=True, exist_ok=True)
    cache.symlink_to(shared_cache)
    config.write_text("model: {backbone: test_resnet, pretrained: false, input: [32, 24]}\n")
    columns.write_text("train: {epochs: 1, batch: 16}\n")
    given = ["--config", config, "--config", columns, "--set", "tasks.age.edges=[30, 60]", "--cache", cache]
    given = [*map(str, given), "--device", "cpu", "--workers", "2"]

    detect = next_of(faceline("check", data, *given))
    assert detect == ["detect", str(data), *given]
    train = next_of(faceline(*detect))
    assert train == ["train", str(data), *given]
    preview = next_of(faceline(*train, "--preview", "--out", tmp_path / "a run"))
    assert preview == ["train", str(data), "--out", str(tmp_path / "a run"), *given]
    predict = next_of(faceline(*preview))
    assert predict[:4] == ["predict", "PHOTOS", "--bundle", str(tmp_path / "a run" / "bundle")]
    [photo, *_] = sorted((data / "eval" / "images").iterdir())
    monkeypatch.chdir(tmp_path)
    evaluate = next_of(faceline(*[photo if word == "PHOTOS" else word for word in predict]))
    assert evaluate == ["evaluate", "predictions/predictions.csv", "--truth", "ANSWERS.csv"]


def test_the_next_line_names_the_program_as_it_was_called(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda _: None)
    for started, program in [
        ("/x/.venv/bin/faceline", "/x/.venv/bin/faceline"),
        ("/x/faceline.py", f"{sys.executable} -m faceline"),
        ("/x/pytest", "faceline"),
    ]:
        monkeypatch.setattr(sys, "argv", [started])
        assert SharedOptions().next_command("check", "DATA") == f"{program} check DATA"


def test_a_leading_tilde_is_the_home_folder(some_data, shared_cache, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    some_data.rename(tmp_path / "photos")
    (tmp_path / "c.yaml").write_text("seed: 1\n")
    faceline("check", "~/photos", "--config=~/c.yaml")
    faceline("cache", "export", "~/photos", "--out=~/export", f"--cache={shared_cache}", "--config=~/c.yaml")
    assert (tmp_path / "export").is_dir()

"""Options that several commands share, and the decorator that adds them to a command.

A command receives the values of its shared options as one `SharedOptions`:

    @with_shared_options("cache", "json")
    def predict(shared: SharedOptions, photos: Path) -> None:
        context = shared.context()

In all paths, a leading ~ is the home folder. What is wrong with an option is said before anything heavy is imported.
"""

import functools
import inspect
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, Literal

import typer

from cache.errors import UsageError
from cache.location import with_home

if TYPE_CHECKING:
    from pipeline.console import Console
    from pipeline.context import RunContext

DEVICES = re.compile(r"auto|cpu|(cuda|mps|xpu)(:\d+)?")


def _device(name: str) -> str:
    if not DEVICES.fullmatch(name):
        raise UsageError(f"--device {name}: it is auto, cpu, cuda or cuda:N")
    return name


RunOpt = Annotated[
    Path | None, typer.Option("--out", help="The run's folder; runs/NAME-SETTINGS by default.", metavar="RUN")
]

SharedName = Literal["config", "settings", "cache", "no_cache", "device", "workers", "json", "quiet"]
CARRIED: tuple[SharedName, ...] = ("config", "settings", "cache", "no_cache", "device", "workers")
EVALUATE_CARRIES: tuple[SharedName, ...] = ("config", "settings")
REVIEW_CARRIES: tuple[SharedName, ...] = ("config", "settings", "cache", "workers")
PREDICT_CARRIES: tuple[SharedName, ...] = ("cache", "no_cache", "device", "workers")  # the bundle has the settings


@dataclass(frozen=True)
class SharedOptions:
    """The shared options of one call; those that the command does not offer have their defaults."""

    config: Annotated[
        list[Path] | None,
        typer.Option("--config", help="Settings, a YAML file. May be repeated; the later file wins.", metavar="FILE"),
    ] = None
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="One setting, over the file's. May be repeated.", metavar="KEY=VALUE"),
    ] = None
    cache: Annotated[
        str | None,
        typer.Option(
            "--cache",
            help="The crops' folder or the URL of an object store; FACELINE_CACHE or the user's cache by default.",
            metavar="DIR|URL",
        ),
    ] = None
    no_cache: Annotated[
        bool,
        typer.Option("--no-cache", help="Keep no crops: they go into a temporary folder, deleted at the end."),
    ] = False
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.", callback=_device)] = "auto"
    workers: Annotated[int | None, typer.Option("--workers", min=1, max=256, help="Threads; all cores by default.")] = (
        None
    )
    json: Annotated[bool, typer.Option("--json", help="The last line on stdout is one JSON object.")] = False
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress and no remarks.")] = False

    def console(self) -> "Console":
        """The output of a command that needs no settings."""
        from pipeline.console import Console

        return Console(as_json=self.json, quiet=self.quiet)

    def context(self) -> "RunContext":
        """Load the settings and build the context; UsageError if one or the cache's folder is not valid."""
        from cache import cache_folder
        from pipeline.context import RunContext, available_cpus
        from pipeline.settings import load_settings

        settings = load_settings(self.config or (), self.settings or ())
        workers = self.workers or available_cpus()
        return RunContext(settings, cache_folder(self.cache), self.device, workers, self.console())

    def next_command(self, *words: object, carry: Sequence[SharedName] = CARRIED) -> str:
        """The command to continue with, quoted for a shell: `words`, then the shared options given to this command.

        Args:
            words: of the command, without the program.
            carry: the shared options that it takes.
        """
        given: list[object] = []
        for name in carry:
            value = getattr(self, name)
            if name == "no_cache":
                given += ["--no-cache"] * value
            elif not (name == "cache" and self.no_cache) and value not in (None, "auto"):
                values: list[object] = value if isinstance(value, list) else [value]
                given += [word for item in values for word in ("--set" if name == "settings" else f"--{name}", item)]
        return shlex.join(map(str, [*_program(), *words, *given]))


def _program() -> list[str]:
    """How this program is called from the same shell: by its name, or the way that it was started now."""
    started = Path(sys.argv[0])
    if shutil.which("faceline") is None and started.name == "faceline.py":
        return [sys.executable, "-m", "faceline"]
    return [sys.argv[0] if shutil.which("faceline") is None and started.name == "faceline" else "faceline"]


def with_shared_options(
    *names: SharedName,
) -> Callable[[Callable[Concatenate[SharedOptions, ...], None]], Callable[..., None]]:
    """Add the named options to a command, or all of them without names; its first parameter receives their values."""
    options = [option for option in fields(SharedOptions) if not names or option.name in names]

    def decorate(command: Callable[Concatenate[SharedOptions, ...], None]) -> Callable[..., None]:
        @functools.wraps(command)
        def wrapper(**values: Any) -> None:
            values = {name: _at_home(value) for name, value in values.items()}
            shared = SharedOptions(**{option.name: values.pop(option.name) for option in options})
            with _temporary_cache(shared) as with_cache:
                command(with_cache, **values)

        # Typer reads a command's options from its signature: the command's own parameters, then the shared ones.
        parameters = list(inspect.signature(command).parameters.values())[1:]
        for option in options:
            kind = inspect.Parameter.KEYWORD_ONLY
            parameters.append(inspect.Parameter(option.name, kind, default=option.default, annotation=option.type))
        wrapper.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportAttributeAccessIssue]
        wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return wrapper

    return decorate


@contextmanager
def _temporary_cache(shared: SharedOptions) -> Generator[SharedOptions]:
    """With --no-cache, put a new folder in the place of the cache, and delete it however the command ends."""
    if not shared.no_cache:
        yield shared
        return
    if shared.cache is not None:
        raise UsageError("--cache and --no-cache exclude each other: one keeps the crops, the other keeps none")
    # Nothing else may still write when it is deleted; on Windows, an open file can't be.
    with tempfile.TemporaryDirectory(prefix="faceline-", ignore_cleanup_errors=True) as folder:
        yield replace(shared, cache=folder)


def _at_home(value: Any) -> Any:
    """The value with the home folder for a leading ~, if it is a path or a list of paths."""
    if isinstance(value, list):
        return [_at_home(item) for item in value]
    return with_home(value) if isinstance(value, Path) else value


def run_folder(out: Path | None, data: Path, context: "RunContext") -> Path:
    """The folder that --out names, or else one per data set and settings: a repeated command resumes its run."""
    from cache.config import fingerprint

    if out is not None:
        return out
    settings = context.settings.model_dump(mode="json", exclude={"train": {"trackers"}})
    return Path("runs") / f"{data.resolve().stem}-{fingerprint(settings)[:8]}"

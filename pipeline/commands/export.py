"""`faceline export`: a folder that predicts with ONNX Runtime or OpenVINO, without torch."""

import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer

from pipeline.commands.checked_paths import BundleArg
from pipeline.commands.options import SharedOptions, with_shared_options


@with_shared_options("json", "quiet")
def export(
    shared: SharedOptions,
    bundle: BundleArg,
    form: Annotated[
        Literal["onnx", "openvino"], typer.Option("--format", help="For ONNX Runtime, or for OpenVINO.")
    ] = "onnx",
    out: Annotated[
        Path | None, typer.Option("--out", help="The folder to write; BUNDLE-FORMAT by default.", metavar="DIR")
    ] = None,
) -> None:
    """Write a folder that predicts without torch: networks, detection, and a script that runs them."""
    from pipeline.export.export_bundle import export_bundle

    console = shared.console()
    folder = out or bundle.with_name(f"{bundle.resolve().name.removesuffix('.zip')}-{form}")
    written = export_bundle(bundle, form, folder, lambda name: console.line(f"{name}: converting"))
    record = {"folder": str(written.folder), "format": form, "files": written.files, "megabytes": written.megabytes}
    text = f"Export: {written.folder} ({written.files} files, {written.megabytes:.0f} MB)"
    console.done(record, text=text, next_step=shlex.join(["python", str(written.folder / "predict.py"), "PHOTOS"]))

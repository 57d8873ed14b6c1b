"""`faceline bundle ...`: look at a bundle, check it, describe it, pack it; each calls one function."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.checked_paths import BundleArg
from pipeline.commands.options import SharedOptions, with_shared_options

bundle_app = typer.Typer(name="bundle", help="Look at a bundle, check it, pack it.", no_args_is_help=True)


@bundle_app.command("inspect")
@with_shared_options("json", "quiet")
def bundle_inspect(shared: SharedOptions, bundle: BundleArg) -> None:
    """Show what a bundle predicts, with which networks, crops and decision rules, and how well."""
    from pipeline.prediction.inspect_bundle import show_bundle

    show_bundle(bundle, shared.console(), shared.next_command("bundle", "verify", bundle, carry=()))


@bundle_app.command("verify")
@with_shared_options("json", "quiet")
def bundle_verify(shared: SharedOptions, bundle: BundleArg) -> None:
    """Check that every file is there and unchanged, and that all parts fit; exit code 1 if not."""
    from pipeline.console import counted
    from pipeline.prediction.verify_bundle import verify_bundle

    console, verified = shared.console(), verify_bundle(bundle)
    for problem in verified.problems:
        console.warn(problem)
    for note in verified.notes:
        console.line(f"Note: {note}.")
    outcome = counted(len(verified.problems), "problem") if verified.problems else "nothing is missing or changed"
    record = {
        "files": verified.files, "ok": not verified.problems, "problems": list(verified.problems),
        "notes": list(verified.notes),
    }  # fmt: skip
    next_step = "" if verified.problems else shared.next_command("predict", "PHOTOS", "--bundle", bundle, carry=())
    console.done(record, text=f"{bundle}: {counted(verified.files, 'file')}, {outcome}", next_step=next_step)
    if verified.problems:
        raise typer.Exit(1)


@bundle_app.command("card")
@with_shared_options("json", "quiet")
def bundle_card(
    shared: SharedOptions,
    bundle: BundleArg,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write it to this file instead of printing it.", metavar="FILE")
    ] = None,
) -> None:
    """Make the model card of a bundle anew, in Hugging Face's format."""
    from cache import atomic
    from classify.inference.bundle_files import open_bundle
    from pipeline.reports.model_card import model_card

    card = model_card(open_bundle(bundle))
    if out is not None:
        atomic.write_text(out, card)
    text = card if out is None else f"Model card: {out}"
    shared.console().done({"card": card, "file": None if out is None else str(out)}, text=text)


@bundle_app.command("zip")
@with_shared_options("json", "quiet")
def bundle_zip(
    shared: SharedOptions,
    bundle: BundleArg,
    out: Annotated[
        Path | None, typer.Option("--out", help="The file to write; BUNDLE.zip by default.", metavar="FILE")
    ] = None,
) -> None:
    """Pack a bundle into one .zip, which all commands take in place of the folder."""
    from classify.inference.bundle_files import open_bundle, write_zip

    file = out or bundle.with_name(f"{bundle.resolve().name.removesuffix('.zip')}.zip")
    write_zip(open_bundle(bundle), file)
    next_step = shared.next_command("predict", "PHOTOS", "--bundle", file, carry=())
    shared.console().done(
        {"file": str(file), "bytes": file.stat().st_size}, text=f"Bundle: {file}", next_step=next_step
    )

"""`faceline doctor`: what is installed, what this machine computes with, how fast it is, and what would help."""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.checked_paths import MeasuredBundleOpt
from pipeline.commands.options import SharedOptions, with_shared_options

SPEEDS = {
    "photos_detected": "photos, from files to crops",
    "photos_predicted": "photos, from files to predictions",
    "samples_trained": "samples of a training step",
}


@with_shared_options()
def doctor(
    shared: SharedOptions,
    bundle: MeasuredBundleOpt = None,
    no_speed: Annotated[bool, typer.Option("--no-speed", help="Do not measure, which takes some seconds.")] = False,
) -> None:
    """Show what is installed, which device and runtime are used and why, the speed, and what would make it faster."""
    from cache.remote import address
    from cache.verify import folder_bytes
    from pipeline.commands.doctor_extras import extras
    from pipeline.commands.doctor_machine import describe_machine
    from pipeline.run_record import versions

    context = shared.context()
    machine, console = describe_machine(context), context.console
    known = extras()

    # Versions and extras
    console.table("Versions", ["package", "version"], list(versions().items()))
    rows: list[list[object]] = []
    for extra in known:
        found = ", ".join(f"{name} {version}" for name, version in extra.packages.items() if version)
        rows.append([extra.name, found if extra.is_installed else extra.command, extra.purpose])
    console.table("Extras", ["extra", "what is there, or what installs it", "for"], rows)

    # Device, runtimes and cache
    runtimes = {"detection": machine.detection, "networks": machine.networks}
    used = [["device", machine.device, machine.why_device()]]
    used += [[what, runtime, machine.why_runtime(runtime)] for what, runtime in runtimes.items()]
    console.table("Used", ["", "", "because"], used)
    size, free = folder_bytes(context.cache), _free_bytes(context.cache)
    place = str(address(context.cache))

    # Speed
    speed: dict[str, float] = {}
    if not no_speed:
        from pipeline.commands.doctor_speed import measure_speed

        speed = measure_speed(context, bundle)
        console.table("Speed", ["", "a second"], [[SPEEDS[what], rate] for what, rate in speed.items()])

    advice = machine.advice(known)
    lines = [
        f"Devices: {', '.join(machine.devices)}",
        f"CPU: {machine.usable_cores} of {machine.cores} cores, {machine.instructions}",
        f"Cache: {place}, {size / 1e9:.2f} GB; {free / 1e9:.0f} GB are free on that disk",
        *(["To be faster:", *(f"  {sentence}" for sentence in advice)] if advice else ["Nothing to change for speed."]),
    ]
    record = {
        "versions": versions(),
        "extras": {extra.name: extra.as_json() for extra in known},
        "devices": list(machine.devices),
        "device": machine.device,
        "runtimes": runtimes,
        "because": {what: why for what, _, why in used},
        "cores": machine.cores,
        "usable_cores": machine.usable_cores,
        "workers": machine.workers,
        "instructions": machine.instructions,
        "has_bf16": machine.has_bf16,
        "cache": place,
        "cache_bytes": size,
        "free_bytes": free,
        **speed,
        "advice": advice,
    }
    console.done(record, text="\n".join(lines), next_step=shared.next_command("demo", "demo"))


def _free_bytes(folder: Path) -> int:
    """The free space of the disk that a folder is on, or will be."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free

"""Networks as files for ONNX Runtime or OpenVINO, and whether they compute what torch computes.

TrainedNetwork, and MTCNN's three networks -> .onnx, or .xml with .bin.
"""

import importlib.util
import logging
import sys
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import pad

from cache.errors import BundleError, UsageError
from classify.inference.bundle import TrainedNetwork
from classify.inference.conversion import PixelsToProbabilities, convert_module
from detect.networks import SIDES, load_networks
from pipeline.export.portable_sessions import open_network

Format = Literal["onnx", "openvino"]
NEEDS: Mapping[Format, tuple[tuple[str, ...], str]] = {
    "onnx": (("onnx", "onnxruntime"), "onnx"),
    "openvino": (("openvino",), "fast"),
}
SUFFIXES: Mapping[Format, str] = {"onnx": ".onnx", "openvino": ".xml"}
DETECTION = ("pnet", "rnet", "onet")
INPUT = "pixels"  # the name of each network's input
OPSET = 17  # of ONNX; runtimes of the last years read it
LARGEST_DIFFERENCE = 1e-3  # between the probabilities of torch and of the exported network
TRIED = 8  # inputs on which they are compared


def refuse_missing_packages(form: Format) -> None:
    """Raise UsageError, with the command that installs it, if a package that the format needs is missing."""
    packages, extra = NEEDS[form]
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"--format {form} needs {' and '.join(missing)}; install with: pip install 'faceline[{extra}]'"
        )


def write_network(trained: TrainedNetwork, folder: Path, form: Format, *, flip: bool) -> list[Path]:
    """Write a trained network that takes pixels (N, H, W, 3) uint8 and returns probabilities (N, sum of C).

    Normalisation, the mean with the mirror image and the heads are part of it.

    Returns:
        The files, the one to open first.

    Raises:
        BundleError: the network can't be exported, or the file computes something else than torch.
    """
    module = PixelsToProbabilities(trained, flip=flip).eval()
    height, width = trained.model.input
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (TRIED, height, width, 3), dtype=np.uint8)
    path = folder / f"{trained.name}{SUFFIXES[form]}"
    return _write(module, pixels, path, {0: "photos"}, ["probabilities"], form)


def write_detection(folder: Path, form: Format) -> list[list[Path]]:
    """Write P-, R- and O-Net, which take pixels (n, h, w, 3) float32 in [-127.5, 127.5]; the files of each."""
    written: list[list[Path]] = []
    for name, side, net in zip(DETECTION, SIDES, load_networks(), strict=True):
        is_first = side == SIDES[0]  # the only one that takes all heights and widths
        rng = np.random.default_rng(0)
        pixels = rng.uniform(-127.5, 127.5, (TRIED, side + 9 * is_first, side, 3)).astype(np.float32)
        axes = {0: "windows", 1: "height", 2: "width"} if is_first else {0: "windows"}
        outputs = ["scores", "corrections", *(["landmarks"] if side == SIDES[-1] else [])]
        path = folder / f"{name}{SUFFIXES[form]}"
        written.append(_write(_ThreeChannels(net).eval(), pixels, path, axes, outputs, form))
    return written


class _ThreeChannels(nn.Module):
    """One of MTCNN's networks, whose pixels have a fourth channel that it ignores, for pixels without it."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """(n, h, w, 3) -> what the network returns."""
        return self.net(pad(pixels, (0, 1)))


def _write(
    module: nn.Module,
    example: NDArray[Any],
    path: Path,
    axes: Mapping[int, str],
    outputs: Sequence[str],
    form: Format,
) -> list[Path]:
    """Write a module and compare what the file computes with what torch does.

    Args:
        example: an input.
        axes: names of the axes of any length.
        outputs: their names.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _quietly(), torch.inference_mode():
            WRITERS[form](module, torch.from_numpy(example), path, axes, outputs)
            expected = module(torch.from_numpy(example))
    except Exception as error:  # the exporters raise dozens of types
        reason = str(error).strip().split("\n")[0]
        raise BundleError(f"{path.stem} can't be exported to {form} ({type(error).__name__}: {reason})") from error
    expected = expected if isinstance(expected, tuple) else (expected,)
    pairs = zip(open_network(path)(example), expected, strict=True)
    difference = float(np.max([np.abs(got - want.numpy()).max() for got, want in pairs]))  # NaN if any is NaN
    if not difference < LARGEST_DIFFERENCE:
        raise BundleError(f"{path.stem} computes other values in {form} than in torch: they differ by {difference:.2g}")
    return [path, path.with_suffix(".bin")] if form == "openvino" else [path]


def _write_onnx(
    module: nn.Module,
    example: Tensor,
    path: Path,
    axes: Mapping[int, str],
    outputs: Sequence[str],
) -> None:
    names: dict[str, Any] = {"input_names": [INPUT], "output_names": list(outputs)}
    dynamic_axes = dict.fromkeys([INPUT, *outputs], axes)
    try:
        torch.onnx.export(
            module, (example,), str(path), dynamo=False, opset_version=OPSET, dynamic_axes=dynamic_axes, **names
        )
    except Exception:
        # torch's newer exporter knows more operations, but takes several times as long, and needs another package.
        if importlib.util.find_spec("onnxscript") is None:
            raise
        dynamic = {axis: torch.export.Dim(axis_name) for axis, axis_name in axes.items()}
        torch.onnx.export(
            module,
            (example,),
            str(path),
            dynamo=True,
            dynamic_shapes=(dynamic,),
            external_data=False,
            verbose=False,
            **names,
        )


def _write_openvino(
    module: nn.Module,
    example: Tensor,
    path: Path,
    axes: Mapping[int, str],
    outputs: Sequence[str],
) -> None:
    import openvino

    shape = [-1 if axis in axes else side for axis, side in enumerate(example.shape)]
    openvino.save_model(convert_module(module, example, shape, outputs), str(path), compress_to_fp16=False)


Writer = Callable[[nn.Module, Tensor, Path, Mapping[int, str], Sequence[str]], None]
WRITERS: Mapping[Format, Writer] = {"onnx": _write_onnx, "openvino": _write_openvino}


@contextmanager
def _quietly() -> Generator[None]:
    """Without the exporters' warnings, about tracing that torch calls deprecated, and their log."""
    log = logging.getLogger("torch.onnx")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        # torch's older exporter prints the graph of a network that it can't export; stdout is for results.
        without_graph = patch("torch._C._jit_onnx_log", lambda *_: None)
        with warnings.catch_warnings(), redirect_stdout(sys.stderr), without_graph:
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)

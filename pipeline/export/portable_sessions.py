"""Networks in ONNX Runtime or OpenVINO, on the CPU in float32.

file -> a function from an array of inputs to the network's outputs, in their order. OpenVINO reuses its memory, so one
thread at a time may call it.
"""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Run = Callable[[NDArray[Any]], list[NDArray[np.float32]]]


def open_network(file: Path, threads: int = 0) -> Run:
    """Load a network.

    Args:
        file: .onnx for ONNX Runtime, .xml, with its .bin beside it, for OpenVINO.
        threads: that compute; 0 for as many as the runtime finds useful.
    """
    return _in_onnxruntime(file, threads) if file.suffix == ".onnx" else _in_openvino(file, threads)


def _in_onnxruntime(file: Path, threads: int) -> Run:
    onnxruntime: Any = importlib.import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda inputs: session.run(None, {name: inputs})


def _in_openvino(file: Path, threads: int) -> Run:
    openvino: Any = importlib.import_module("openvino")
    # By default OpenVINO would compute in bfloat16 if the processor can, with other results.
    options = {"INFERENCE_PRECISION_HINT": "f32", **({"INFERENCE_NUM_THREADS": threads} if threads else {})}
    compiled = openvino.Core().compile_model(str(file), "CPU", options)
    return lambda inputs: [np.array(output) for output in compiled(inputs).values()]

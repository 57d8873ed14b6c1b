"""What differs between a CPU and a GPU when a network computes: number format, copies, and how many inputs at once.

On a GPU, operations are queued: a copy from ordinary memory, and each value that Python reads, wait until the GPU has
caught up. So inputs are copied from pinned memory, and results are read after many batches.

cuDNN prepares each convolution anew for each thread and each size of its input, which can take seconds for a network:
longer than computing thousands of photos. So all networks predict in one thread, with few sizes of batches.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cache.errors import UsageError

BATCH = {"cpu": 64, "cuda": 256}  # inputs at once; fewer where a GPU's memory is too small
READ_EVERY = 16  # batches after which a GPU's results are read; until then, their inputs are in pinned memory, too
SIZES = (8, 64, BATCH["cuda"])  # of batches on a GPU, if they are filled

Result = TypeVar("Result")


def fastest_precision(device: str) -> torch.dtype:
    """The number format in which networks are fastest: bfloat16, float16 on GPUs without it, float32 on a CPU."""
    if torch.device(device).type != "cuda":
        return torch.float32
    # An emulated bfloat16 is slower than float32.
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def to_device(values: Tensor, device: str | torch.device) -> Tensor:
    """Copy a tensor to a device; on a GPU without waiting for it."""
    if torch.device(device).type != "cuda":
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)


def compute_in_batches(
    compute: Callable[[Tensor], Tensor],
    inputs: NDArray[Any],
    rows: NDArray[np.intp],
    device: str,
    progress: Callable[[int], None] | None = None,
    *,
    fill: bool = False,
) -> Tensor:
    """Compute a row of results for some of the inputs.

    Args:
        compute: (B, ...) inputs on the device -> (B, D) results.
        inputs: (N, ...), read batch by batch: they may be a memory map that is larger than memory.
        rows: (M,) the inputs to compute, in this order; at least one.
        device: a torch device name.
        progress: called with the number of inputs after each batch.
        fill: on a GPU, compute some inputs twice where that makes a batch's size one of few; see above.

    Returns:
        (M, D) on the CPU.

    Raises:
        UsageError: the GPU's memory is too small for a single input.
    """
    size = BATCH[torch.device(device).type]
    fill = fill and torch.device(device).type == "cuda"
    parts: list[Tensor] = []  # on the CPU
    waiting: list[Tensor] = []  # on the device
    done = 0
    while done < len(rows):
        batch = np.asarray(inputs[rows[done : done + size]])
        filled = _filled(batch) if fill else batch
        try:
            waiting.append(compute(to_device(torch.from_numpy(filled), device))[: len(batch)])
        except torch.cuda.OutOfMemoryError as error:
            if len(filled) == 1:
                raise UsageError("the GPU's memory is too small for this network; use --device cpu") from error
            size, fill = max(len(batch) // 2, 1), False
        else:
            done += len(batch)
            if progress:
                progress(len(batch))
        if len(waiting) == READ_EVERY or done == len(rows):
            parts.append(torch.cat(waiting).cpu())
            waiting = []
    return torch.cat(parts)


def _filled(batch: NDArray[Any]) -> NDArray[Any]:
    """Repeat inputs until their number is one of `SIZES`."""
    size = next(size for size in SIZES if size >= len(batch))
    return batch if size == len(batch) else np.resize(batch, (size, *batch.shape[1:]))


def in_prediction_thread(compute: Callable[[], Result], device: str) -> Result:
    """Call a function that runs a network: on a GPU in the one thread for that, on a CPU in the caller's."""
    if torch.device(device).type != "cuda":
        return compute()
    return _prediction_thread(device).submit(compute).result()


@cache
def _prediction_thread(device: str) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, f"predict-{device}", initializer=_choose_gpu, initargs=(device,))


def _choose_gpu(device: str) -> None:
    """Choose the calling thread's GPU; else, pinned memory would be made for the first one."""
    if ":" in device:
        torch.cuda.set_device(device)

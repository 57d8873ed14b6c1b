"""Compute in true float32: without TF32, bfloat16 or half precision, whatever the process has set for its training.

A crop's key names no device. Rounding to 10 bits, as TF32 does on a GPU, moves boxes by pixels and would put another
crop under the same key.
"""

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import torch

_backends = torch.backends
# What a layer may be computed with. torch's older settings, below, are changed with them: torch checks that they agree.
_OPERATIONS: tuple[Any, ...] = (
    _backends.cuda.matmul,
    _backends.cudnn.conv,  # pyright: ignore[reportAttributeAccessIssue]
    _backends.cudnn.rnn,  # pyright: ignore[reportAttributeAccessIssue]
    _backends.mkldnn.matmul,  # pyright: ignore[reportAttributeAccessIssue]
    _backends.mkldnn.conv,  # pyright: ignore[reportAttributeAccessIssue]
)


def _set_cudnn_tf32(allowed: bool) -> None:
    _backends.cudnn.allow_tf32 = allowed


_OLDER_SETTINGS: tuple[tuple[Callable[[], Any], Callable[[Any], None], Any], ...] = (
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "highest"),
    (lambda: _backends.cudnn.allow_tf32, _set_cudnn_tf32, False),
)

_lock = threading.Lock()
_inside: list[Callable[[], None]] = []  # an item per thread in the block, as the settings are the process's


@contextmanager
def true_float32() -> Generator[None]:
    """Switch off all shortcuts of float32 arithmetic in this process until the last thread leaves the block."""
    with _lock:
        _inside.append(_inside[0] if _inside else _switch_off())
    try:
        yield
    finally:
        with _lock:
            restore = _inside.pop()
            if not _inside:
                restore()


def _switch_off() -> Callable[[], None]:
    """Switch the shortcuts off; returns a function that restores the settings."""
    precisions = [operation.fp32_precision for operation in _OPERATIONS]
    older = [(write, _read(read)) for read, write, _ in _OLDER_SETTINGS]
    for _, write, exact in _OLDER_SETTINGS:
        write(exact)
    for operation in _OPERATIONS:
        operation.fp32_precision = "ieee"

    def restore() -> None:
        for write, value in older:
            if value is not None:
                write(value)
        for operation, precision in zip(_OPERATIONS, precisions, strict=True):
            operation.fp32_precision = precision

    return restore


def _read(setting: Callable[[], Any]) -> Any:
    """Read one of the older settings; None where the process uses the newer ones, which torch answers with an error."""
    try:
        return setting()
    except RuntimeError:
        return None

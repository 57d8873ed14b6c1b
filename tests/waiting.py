"""Which operations would wait for a GPU, seen on the CPU."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class OperationsThatWait(TorchDispatchMode):
    """Lists operations for whose result Python has to wait on a GPU: their size, or their value, is needed."""

    SIZES = ("nonzero", "nonzero_numpy", "nms", "masked_select", "bincount")
    VALUES = ("_local_scalar_dense", "equal", "_to_copy", "lift_fresh")

    def __init__(self):
        super().__init__()
        self.waited = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        name = operation.__name__.split(".")[0]
        is_mask = name == "index" and any(index is not None and index.dtype == torch.bool for index in args[1])
        is_to_device = name != "_to_copy" or "device" in (kwargs or {})
        if is_mask or (name in self.SIZES + self.VALUES and is_to_device):
            self.waited.append(name)
        return operation(*args, **(kwargs or {}))

"""Convert a trained network for other runtimes: OpenVINO here, and files for it and for ONNX Runtime in an export.

TrainedNetwork -> a module from pixels to probabilities, normalisation and heads included -> the runtime's model.
"""

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from classify.inference.bundle import TrainedNetwork

CONVERSION_VERSION = 1  # part of the name of a kept conversion: raise it when the same network is converted otherwise
# The converter traces the network twice and compares the traces, which note whether TF32 is allowed. Detection, which
# runs in other threads meanwhile, switches that off for a moment.
TRIES, TRACES_DIFFER = 10, "Graphs differed across invocations"
EXAMPLES = 2  # in the batch that conversion traces; with one, its size would become a constant


class PixelsToProbabilities(nn.Module):
    """A trained network with the way its input is made and what its outputs mean.

    Args:
        trained: the network, with its heads and normalisation.
        flip: average over each input and its mirror image.
    """

    def __init__(self, trained: TrainedNetwork, *, flip: bool) -> None:
        super().__init__()
        self.network = trained.network.eval()
        self._heads, self._flip = trained.heads, flip
        # (pixels / 255 - mean) / std as one multiplication and one addition, which runtimes fuse into the first layer
        mean, std = (torch.tensor(v)[:, None, None] for v in (trained.normalise.mean, trained.normalise.std))
        self._scale, self._shift = 1 / (255 * std), -mean / std

    def forward(self, pixels: Tensor) -> Tensor:
        """(N, H, W, 3) RGB, uint8 or float32 in [0, 255] -> (N, sum of C) probabilities, task by task as in `heads`."""
        images = pixels.permute(0, 3, 1, 2).float() * self._scale + self._shift
        if not self._flip:
            return self._predict(images)
        # Both go through the network at once: a runtime then has one copy of it, and larger batches.
        return self._predict(torch.cat([images, images.flip(3)])).unflatten(0, (2, -1)).mean(0)

    def _predict(self, images: Tensor) -> Tensor:
        return torch.cat(self._heads.probabilities(self.network(images)), dim=1)


def to_openvino(trained: TrainedNetwork, *, flip: bool) -> Any:
    """Convert a trained network to an `openvino.Model`: pixels (N, H, W, 3) uint8 -> probabilities (N, sum of C)."""
    height, width = trained.model.input
    module = PixelsToProbabilities(trained, flip=flip).eval()
    example = torch.zeros((EXAMPLES, height, width, 3), dtype=torch.uint8)
    return convert_module(module, example, [-1, height, width, 3], ["probabilities"])


def convert_module(module: nn.Module, example: Tensor, shape: Sequence[int], outputs: Sequence[str]) -> Any:
    """Convert a module to an `openvino.Model`, whose input is called `pixels`.

    Args:
        module: in evaluation mode.
        example: an input.
        shape: of inputs, -1 for sides of any length.
        outputs: their names.
    """
    import openvino

    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # OpenVINO's converter uses tracing that torch calls deprecated
        convert = partial(openvino.convert_model, module, example_input=example, input=list(shape))
        model = until_traces_agree(convert)
    for port, name in zip([*model.inputs, *model.outputs], ["pixels", *outputs], strict=True):
        port.get_tensor().set_names({name})
    return model


def until_traces_agree(convert: Callable[[], Any]) -> Any:
    """Return what `convert` returns; where its two traces differ since another thread changed a setting, try again."""
    for _ in range(TRIES - 1):
        try:
            return convert()
        except RuntimeError as error:
            if TRACES_DIFFER not in str(error):
                raise
    return convert()

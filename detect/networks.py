"""MTCNN's P-, R- and O-Net with facenet-pytorch's weights, in the fastest runtime at hand.

pixels (n, h, w, 4) float32 in [-127.5, 127.5], RGB and a fourth that counts for nothing -> scores in [0, 1],
corrections of the box in shares of its sides and, from O-Net, landmarks in shares of the box.

On a CPU, OpenVINO runs them where it is installed (`pip install "faceline[fast]"`), else torch; on a GPU, torch.
"""

import importlib.util
import warnings
from collections import Counter
from functools import cache
from threading import local
from typing import Any, Protocol

import torch
from facenet_pytorch.models.mtcnn import ONet, PNet, RNet
from torch import Tensor, nn

PROPOSE, REFINE, OUTPUT = 0, 1, 2  # P-, R- and O-Net
SIDES = (12, 24, 48)  # what each of them looks at
SCALE = 1 / 128  # of the pixels that the networks were trained on; the first layer does it

STEP = 8  # OpenVINO compiles and keeps code for every number of candidates that it meets, so let it meet few

LARGE = 10_000  # inputs of P-Net, with which a processor's cache is full
OFTEN = 64  # times that such an input comes in one shape before P-Net is compiled for it
COMPILED = 32  # such shapes at most

# For OpenVINO. By itself it would compute in bfloat16 where the processor can: the answers would no longer be MTCNN's.
OPTIONS = {
    "INFERENCE_PRECISION_HINT": "f32",
    "INFERENCE_NUM_THREADS": 1,
    "NUM_STREAMS": 1,
    "ENABLE_CPU_PINNING": False,
}


class Networks(Protocol):
    """The three networks on one device."""

    device: torch.device

    def run(self, stage: int, pixels: Tensor) -> list[Tensor]:
        """One network's answers.

        Args:
            stage: `PROPOSE`, `REFINE` or `OUTPUT`.
            pixels: (n, h, w, 4); (n, 24, 24, 4) to refine, (n, 48, 48, 4) for the output.

        Returns:
            Scores (n,) and corrections (n, 4), of P-Net (n, h', w') and (n, h', w', 4); of O-Net landmarks, too,
            (n, 10): five x, then five y.
        """
        ...


class TorchNetworks:
    """The networks in torch, with channels last."""

    def __init__(self, device: torch.device, *, half: bool = False) -> None:
        self.device = device
        self._kind = torch.float16 if half else torch.float32
        self._nets = [net.to(device, self._kind).to(memory_format=torch.channels_last) for net in load_networks()]

    def run(self, stage: int, pixels: Tensor) -> list[Tensor]:
        """See `Networks.run`."""
        return [answer.float() for answer in self._nets[stage](pixels.to(self._kind))]


class OpenVinoNetworks:
    """The networks in OpenVINO, on the CPU. Each thread that calls them computes by itself, on one core."""

    def __init__(self) -> None:
        self.device = torch.device("cpu")
        self._own = local()
        _converted()

    def run(self, stage: int, pixels: Tensor) -> list[Tensor]:
        """See `Networks.run`."""
        if not hasattr(self._own, "requests"):
            self._own.requests = _Requests()
        count = len(pixels)
        if stage != PROPOSE and count % STEP:
            pixels = torch.cat([pixels, pixels.new_zeros((-count % STEP, *pixels.shape[1:]))])
        answers = self._own.requests.suited(stage, tuple(pixels.shape)).infer([pixels.numpy()], share_inputs=True)
        return [torch.from_numpy(answer[:count]) for answer in answers.values()]


class _Requests:
    """One thread's compiled networks. Two threads with one compiled network would wait for each other."""

    def __init__(self) -> None:
        self._core, self._models = _converted()
        self._any = [self._compiled(model) for model in self._models]
        self._seen: Counter[tuple[int, ...]] = Counter()
        self._one: dict[tuple[int, ...], Any] = {}

    def suited(self, stage: int, shape: tuple[int, ...]) -> Any:
        """The network compiled for any shape, or for this one alone.

        The latter computes the same a seventh faster, yet compiling it takes as long as it saves on a hundred photos.
        """
        if stage != PROPOSE or shape[1] * shape[2] < LARGE:
            return self._any[stage]
        self._seen[shape] += 1
        if self._seen[shape] == OFTEN and len(self._one) < COMPILED:
            model = self._models[stage].clone()
            model.reshape(list(shape))
            self._one[shape] = self._compiled(model)
        return self._one.get(shape, self._any[stage])

    def _compiled(self, model: Any) -> Any:
        return self._core.compile_model(model, "CPU", OPTIONS).create_infer_request()


@cache
def _converted() -> tuple[Any, list[Any]]:
    """OpenVINO and the networks in its own form, which takes a second to make: once in a process."""
    import openvino

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls the tracing deprecated that OpenVINO's converter uses
        models = [
            openvino.convert_model(net, example_input=torch.rand(2, side, side, 4))
            for net, side in zip(load_networks(), SIDES, strict=True)
        ]
    return openvino.Core(), models


def networks_on(device: torch.device, *, half: bool = False) -> Networks:
    """The networks in the fastest runtime that is installed; `half` precision on a GPU only."""
    if device.type == "cpu" and importlib.util.find_spec("openvino") is not None:
        return OpenVinoNetworks()
    return TorchNetworks(device, half=half and device.type == "cuda")


def load_networks() -> list[nn.Module]:
    """P-, R- and O-Net that take pixels as the summed-area tables give them."""
    return [_FromPixels(net) for net in (PNet(), RNet(), ONet())]


class _FromPixels(nn.Module):
    """One of facenet-pytorch's networks, with the scale of its pixels and the fourth channel in its first layer."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        first = net.conv1
        net.conv1 = nn.Conv2d(4, first.out_channels, first.kernel_size)
        weight = torch.cat([first.weight.detach() * SCALE, torch.zeros_like(first.weight[:, :1])], 1)
        net.conv1.load_state_dict({"weight": weight, "bias": first.bias.detach()})
        self.net = net.eval().requires_grad_(False)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        answers = self.net(pixels.permute(0, 3, 1, 2))
        corrections, scores = answers[0], answers[-1]
        if corrections.ndim == 4:
            corrections = corrections.permute(0, 2, 3, 1)
        return scores[:, 1], corrections, *answers[1:-1]

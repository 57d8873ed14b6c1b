import numpy as np
import pytest
import torch
from facenet_pytorch.models.mtcnn import ONet, PNet, RNet

from detect.networks import OUTPUT, PROPOSE, REFINE, OpenVinoNetworks, TorchNetworks, networks_on

CPU = torch.device("cpu")


def pixels(count, side):
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.uniform(-127.5, 127.5, (count, side, side, 4)).astype(np.float32))


@pytest.mark.parametrize("runtime", ["torch", "products", "openvino"])
@torch.inference_mode()
def test_the_answers_are_facenet_pytorchs(runtime):
    if runtime == "openvino":
        pytest.importorskip("openvino")
    networks = OpenVinoNetworks() if runtime == "openvino" else TorchNetworks(CPU, by_products=runtime == "products")
    for net, stage, side in ((PNet(), PROPOSE, 50), (RNet(), REFINE, 24), (ONet(), OUTPUT, 48)):
        inputs = pixels(5, side)
        expected = net(inputs[..., :3].permute(0, 3, 1, 2) / 128)
        corrections, scores = expected[0], expected[-1][:, 1]
        if side == 50:
            corrections = corrections.permute(0, 2, 3, 1)
        outputs = networks.run(stage, inputs)
        assert (outputs[0] - scores).abs().max() < 1e-5
        assert (outputs[1] - corrections).abs().max() < 1e-4
        assert side != 48 or (outputs[2] - expected[1]).abs().max() < 1e-4


@torch.inference_mode()
def test_a_network_compiled_for_one_shape_has_the_same_outputs(monkeypatch):
    pytest.importorskip("openvino")
    monkeypatch.setattr("detect.networks.OFTEN", 3)
    networks = OpenVinoNetworks()
    inputs = pixels(1, 130)
    for_any, again, for_one = (networks.run(PROPOSE, inputs) for _ in range(3))
    assert list(networks._local.requests._one_shape) == [(1, 130, 130, 4)]
    for a, b, c in zip(for_any, again, for_one, strict=True):
        assert torch.equal(a, b)
        assert torch.allclose(a, c, atol=1e-5)


def test_without_openvino_torch_computes(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert isinstance(networks_on(CPU), TorchNetworks)

import numpy as np
import pytest
import torch
from facenet_pytorch.models.utils.detect_face import nms_numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import batched_nms

from detect import cascade
from detect.cascade import Candidates, Cascade, _copied_together, pyramid_scales, suppress, suppress_nested
from detect.networks import TorchNetworks
from tests.waiting import OperationsThatWait


def candidates(seed, count, images):
    rng = np.random.default_rng(seed)
    starts, sides = rng.uniform(0, 60, (count, 2)), rng.uniform(5, 50, (count, 2))
    boxes = torch.from_numpy(np.concatenate([starts, starts + sides], 1)).float()
    scores = torch.from_numpy(rng.permutation(count) / count).float()
    return Candidates(boxes, scores, torch.from_numpy(np.sort(rng.integers(0, images, count))))


@given(seed=st.integers(0, 999), count=st.integers(0, 60), together=st.booleans())
@settings(max_examples=60, deadline=None)
def test_suppression_is_torchvisions_image_by_image(seed, count, together):
    found = candidates(seed, count, 3)
    group = torch.from_numpy(np.random.default_rng(seed).integers(0, 3, count))
    for groups in (None, group):
        kept = suppress(found, 0.4, groups, together=together)
        key = found.owner * 3 + (0 if groups is None else groups)
        assert sorted(kept.tolist()) == sorted(batched_nms(found.boxes, found.scores, key, 0.4).tolist())
        owner = found.owner[kept]
        assert (owner.diff() >= 0).all()
        assert (found.scores[kept].diff()[owner.diff() == 0] <= 0).all()


@given(seed=st.integers(0, 999), count=st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_nested_suppression_is_facenet_pytorchs(seed, count):
    found = candidates(seed, count, 3)
    kept = suppress_nested(found, 0.5)
    for image in range(3):
        rows = (found.owner == image).nonzero().squeeze(1)
        expected = nms_numpy(found.boxes[rows].numpy(), found.scores[rows].numpy(), 0.5, "Min") if len(rows) else []
        assert kept[found.owner[kept] == image].tolist() == [rows[int(i)].item() for i in expected]


def test_the_pyramid_ends_where_no_face_fits():
    assert pyramid_scales(512, 384, 20, 0.709) == pytest.approx([0.6 * 0.709**k for k in range(9)])
    assert pyramid_scales(19, 500, 20, 0.709) == []


def test_all_images_at_once_as_on_a_gpu_gives_the_same_faces(photos):
    networks = TorchNetworks(torch.device("cpu"))
    one_by_one, together = (
        Cascade(networks, (0.6, 0.7, 0.7), 0.709, together=together).detect(photos[:5], 40)
        for together in (False, True)
    )
    for single, batched in zip(one_by_one, together, strict=True):
        assert len(single) == len(batched) > 0
        assert np.abs(single.boxes - batched.boxes).max() < 0.01


def test_o_net_settles_on_the_face_in_a_box_that_is_a_little_off(photos):
    cascade = Cascade(TorchNetworks(torch.device("cpu")), (0.6, 0.7, 0.7), 0.709)
    [face] = [faces[:1] for faces in cascade.detect(photos[6:7], 40)]
    [refined] = cascade.refine_boxes(photos[6:7], face.boxes + np.array([8, -6, 4, 10], np.float32), 0.3)
    assert np.abs(refined.boxes[0] - face.boxes[0]).max() < 20
    assert np.abs(refined.landmarks[0] - face.landmarks[0]).max() < 12
    [none] = cascade.refine_boxes(photos[6:7], np.array([[0, 0, 60, 60]], np.float32), 0.3)
    assert len(none) == 0


def test_a_gpu_is_waited_for_five_times_before_o_nets_results_are_copied_at_once(photos, monkeypatch):
    detector = Cascade(TorchNetworks(torch.device("cpu")), (0.6, 0.7, 0.7), 0.709, together=True)
    detector.detect(photos[:2], 40)  # makes and keeps the pyramid
    copied = []

    def copy(*columns):
        copied.append(list(operations.waited))
        return _copied_together(columns)

    monkeypatch.setattr(cascade, "_on_cpu", copy)
    with OperationsThatWait() as operations:
        found = detector.detect(photos[:2], 40)
    assert copied == [["nonzero_numpy", "nms", "nms", "nonzero", "nms"]]
    assert all(len(faces) for faces in found)


def test_columns_that_are_copied_together_arrive_as_they_were():
    columns = [
        torch.rand(3, 4),
        torch.tensor([0, 2, 2**40]),
        torch.tensor([True, False, True]),
        torch.rand(3, 5, 2),
    ]
    for rows in (3, 0):
        expected = [column[:rows] for column in columns]
        for column, arrived in zip(expected, _copied_together(expected), strict=True):
            assert (arrived.dtype, arrived.shape) == (column.dtype, column.shape)
            assert torch.equal(arrived, column)

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import interpolate

from detect.areas import Grids, ScratchMemory, Tables

CPU = torch.device("cpu")


def peer(image, size):
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    return interpolate(pixels, size=size, mode="area")[0].permute(1, 2, 0) - 127.5


@given(
    seed=st.integers(0, 99), height=st.integers(1, 70), width=st.integers(1, 70),
    sizes=st.lists(st.tuples(st.integers(1, 80), st.integers(1, 80)), min_size=1, max_size=3),
    together=st.booleans(),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_shrinking_is_torchs_area_interpolation(seed, height, width, sizes, together):
    images = list(np.random.default_rng(seed).integers(0, 256, (3, height, width, 3), dtype=np.uint8))
    tables = Tables(images, CPU, ScratchMemory(), together=together)
    for size, level in zip(sizes, tables.shrunk([Grids.over((height, width), sizes, CPU)]), strict=True):
        assert level.shape == (3, *size, 4)
        for image, shrunk in zip(images, level, strict=True):
            assert (shrunk[..., :3] - peer(image, size)).abs().max() < 1e-4


@given(seed=st.integers(0, 99), count=st.integers(1, 5), side=st.sampled_from([24, 48]), together=st.booleans())
@settings(max_examples=40, deadline=None)
def test_squares_are_torchs_area_interpolation_of_the_parts(seed, count, side, together):
    rng = np.random.default_rng(seed)
    images = list(rng.integers(0, 256, (2, 90, 60, 3), dtype=np.uint8))
    starts = np.stack([rng.integers(0, 59, count), rng.integers(0, 89, count)], 1)
    ends = np.stack([rng.integers(starts[:, 0] + 1, 61), rng.integers(starts[:, 1] + 1, 91)], 1)
    owner = rng.integers(0, 2, count)
    edges = torch.from_numpy(np.concatenate([starts, ends], 1))
    squares = Tables(images, CPU, ScratchMemory(), together=together).squares(torch.from_numpy(owner), edges, side)
    for index, (x1, y1, x2, y2) in enumerate(edges.tolist()):
        expected = peer(images[owner[index]][y1:y2, x1:x2], (side, side))
        assert (squares[index, ..., :3] - expected).abs().max() < 1e-4


@pytest.mark.parametrize("together", [False, True])
def test_the_sums_of_a_large_white_image_may_overflow(together):
    white = np.full((3000, 3100, 3), 255, np.uint8)
    assert white[..., 0].size * 255 > 2**31
    tables = Tables([white], CPU, ScratchMemory(), together=together)
    [level] = tables.shrunk([Grids.over((3000, 3100), [(30, 31)], CPU)])
    assert (level[..., :3] == 127.5).all()


def test_memory_is_used_again_unless_it_is_too_small():
    scratch, like = ScratchMemory(), torch.empty(0)
    first = scratch.take("a", (10, 10), like)
    assert scratch.take("a", (5, 4), like).data_ptr() == first.data_ptr()
    assert scratch.take("b", (5, 4), like).data_ptr() != first.data_ptr()
    assert scratch.take("a", (20, 20), like).shape == (20, 20)

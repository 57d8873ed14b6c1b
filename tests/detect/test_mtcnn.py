import numpy as np
import pytest
import torch

from detect.faces import Faces
from detect.mtcnn import Mtcnn, _halved_if_too_large


def test_a_batch_too_large_for_the_gpu_is_halved_once_and_says_so(caplog):
    taken = []

    def work(batch):
        taken.append(list(batch))
        if len(batch) > 3:
            raise torch.cuda.OutOfMemoryError("no memory")
        return [Faces.none()] * len(batch)

    assert len(_halved_if_too_large(work, range(6))) == 6
    assert taken == [[0, 1, 2, 3, 4, 5], [0, 1, 2], [3, 4, 5]]
    assert "too small for 6 photos at once: taking 3" in caplog.text
    with pytest.raises(torch.cuda.OutOfMemoryError):
        _halved_if_too_large(work, range(8))


def test_large_photos_go_fewer_at_a_time():
    mtcnn = Mtcnn((0.6, 0.7, 0.7), 0.709, "cpu")
    small, large = np.zeros((512, 384, 3), np.uint8), np.zeros((6000, 6000, 3), np.uint8)
    assert mtcnn._fits(large, 20) == 1
    assert 1 <= mtcnn._fits(small, 5) < mtcnn._fits(small, 20) <= 16

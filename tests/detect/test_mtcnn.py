import numpy as np
import pytest
import torch

from detect.mtcnn import Mtcnn, _gpu_pool

OPTIONS = ((0.6, 0.7, 0.7), 0.709, "cpu")


class SmallGpu:
    """A cascade that has memory for `fits` photos at once."""

    def __init__(self, cascade, fits):
        self.cascade, self.fits, self.taken, self.freed = cascade, fits, [], 0

    def detect(self, images, min_face):
        self.taken.append(len(images))
        if len(images) > self.fits:
            raise torch.cuda.OutOfMemoryError("no memory")
        return self.cascade.detect(images, min_face)

    def free_memory(self):
        self.freed += 1


@pytest.fixture
def photos_and_faces(photos):
    images = photos[:6]
    return images, Mtcnn(*OPTIONS, threads=1).detect(images, [40] * 6)


def faces_on(fits, images):
    mtcnn = Mtcnn(*OPTIONS, threads=1)
    mtcnn._cascade = gpu = SmallGpu(mtcnn._cascade, fits)
    return gpu, mtcnn.detect(images, [40] * 6)


def same(faces, others):
    return all((a.boxes == b.boxes).all() for a, b in zip(faces, others, strict=True))


def test_a_batch_too_large_for_the_gpu_is_halved_until_it_fits_and_says_so(photos_and_faces, caplog):
    images, faces = photos_and_faces
    gpu, found = faces_on(1, images)
    assert same(found, faces)
    assert gpu.taken == [6, 3, 1, 2, 1, 1, 3, 1, 2, 1, 1]
    assert gpu.freed == 5
    assert "too small for 6 photos at once: taking 3" in caplog.text


def test_a_photo_too_large_for_the_gpu_is_searched_on_the_cpu(photos_and_faces, caplog):
    images, faces = photos_and_faces
    _, found = faces_on(0, images)
    assert same(found, faces)
    assert "too small for a photo: its face is looked for on the CPU" in caplog.text


def test_large_photos_go_fewer_at_a_time():
    mtcnn = Mtcnn(*OPTIONS)
    small, large = np.zeros((512, 384, 3), np.uint8), np.zeros((6000, 6000, 3), np.uint8)
    assert mtcnn._fits(large, 20) == 1
    assert 1 <= mtcnn._fits(small, 5) < mtcnn._fits(small, 20) <= 16


def test_detectors_share_a_gpus_threads():
    gpu = torch.device("cuda", 0)
    assert _gpu_pool(gpu) is _gpu_pool(gpu)
    assert _gpu_pool(gpu) is not _gpu_pool(torch.device("cuda", 1))

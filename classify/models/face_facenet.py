"""facenet-pytorch's Inception ResNet v1, which has learned from faces to tell people apart.

In: (N, 3, H, W) normalised faces, about 160 pixels high. Out: logits, or features of 1,792 values.

Its publisher has weights from VGGFace2 and from CASIA-WebFace, each a file of 110 MB. They are downloaded to where
facenet-pytorch itself keeps them, so that each machine has them once. Source: Schroff et al., "FaceNet: A Unified
Embedding for Face Recognition and Clustering", 2015.
"""

import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Any

from facenet_pytorch.models.inception_resnet_v1 import InceptionResnetV1, get_torch_home
from torch import Tensor, nn

from cache import atomic
from cache.errors import BundleError

RELEASE = "https://github.com/timesler/facenet-pytorch/releases/download/v2.2.9/"
FILES = {"face_vggface2": "20180402-114759-vggface2.pt", "face_casia": "20180408-102900-casia-webface.pt"}
TIMEOUT_S = 10.0  # without a byte
FEATURES = 1792
MEAN, STD = (127.5 / 255,) * 3, (128 / 255,) * 3  # of pixels in [0, 1]


class FaceFacenet(InceptionResnetV1):
    """The published network up to its pooled features, and a linear last layer on them.

    It has the methods of a timm network that faceline uses. The heads read the pooled features, not the embedding of
    512 values that the network was trained for: that is a linear map of them, in which what two photos of a person may
    differ in, such as a mask, is suppressed.
    """

    def __init__(self, classes: int, dropout: float = 0.0) -> None:
        super().__init__(dropout_prob=dropout)
        del self.last_linear, self.last_bn  # of the embedding
        self.fc = nn.Linear(FEATURES, classes)
        self.pretrained_cfg: dict[str, Any] = {"mean": MEAN, "std": STD, "input_size": (3, 160, 160)}

    def get_classifier(self) -> nn.Module:
        """The last layer."""
        return self.fc

    def forward_features(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, 1792, H', W')."""
        x = self.maxpool_3a(self.conv2d_2b(self.conv2d_2a(self.conv2d_1a(x))))
        x = self.conv2d_4b(self.conv2d_4a(self.conv2d_3b(x)))
        x = self.mixed_6a(self.repeat_1(x))
        return self.block8(self.repeat_3(self.mixed_7a(self.repeat_2(x))))

    def forward_head(self, features: Tensor, *, pre_logits: bool = False) -> Tensor:
        """(N, 1792, H, W) -> means (N, 1792) or, without `pre_logits`, (N, classes)."""
        means = self.dropout(features.mean(dim=(2, 3)))
        return means if pre_logits else self.fc(means)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, classes)."""
        return self.forward_head(self.forward_features(x))


def published_weights(backbone: str) -> Path:
    """The file of published weights, which is downloaded where it is not there yet.

    Raises:
        BundleError: it can't be downloaded; the message says what to do.
    """
    file = Path(get_torch_home()) / "checkpoints" / FILES[backbone]
    if file.is_file():
        return file
    url = RELEASE + FILES[backbone]
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as response:
            content = response.read()
        atomic.write_bytes(file, content)
    except (OSError, HTTPException) as error:
        raise BundleError(
            f"the weights of {backbone} can't be downloaded from {url} ({error}). Behind a proxy, set HTTPS_PROXY. "
            "Without a network, download that file elsewhere and name it with --set model.weights=FILE, or use "
            "--set model.backbone=face_dlib after pip install 'faceline[faces]'."
        ) from error
    return file

"""Settings of a network: the backbone, its weights, and its input."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer

from cache.config import Config

ShareBelowOne = Annotated[float, Field(ge=0, lt=1)]


class ModelConfig(Config):
    """The network of one task. `model` sets it for all tasks, `tasks.NAME.model` for one."""

    sharing: Literal["separate", "shared", "joint"] = Field(
        default="separate",
        description="separate: a network per task; shared: one network with a head per task; joint: one network over "
        "the joint classes.",
    )
    backbone: str = Field(
        default="tf_efficientnet_lite0",
        description="Any timm model name, see timm.list_models(); hf-hub:OWNER/NAME for a timm model in that "
        "repository of the hub; or face_dlib, face_vggface2 or face_casia, which have learned from faces.",
    )
    pretrained: bool = Field(
        default=True,
        description="Start from published weights: those of the installed `offline` extra for tf_efficientnet_lite0, "
        "of the `faces` extra for face_dlib, else those that timm or facenet-pytorch publish, which are downloaded.",
    )
    weights: Path | None = Field(
        default=None,
        description="Start from this file instead: .safetensors, or .pth or .bin with tensors only, such as timm's "
        "own files or a network of a bundle, or dlib's .dat for face_dlib. The last layer of the file is not used.",
    )
    input: tuple[int, int] = Field(default=(128, 96), description="Input size, [height, width] in pixels.")
    zoom: float = Field(
        default=1.3, ge=1, le=4, description="How far to zoom into the centre of the crop; 1 uses the whole crop."
    )
    dropout: ShareBelowOne = Field(default=0.2, description="Dropout before the last layer.")
    drop_path: ShareBelowOne = Field(default=0.0, description="Stochastic depth: timm's drop_path_rate.")

    @field_validator("input")
    @classmethod
    def _sides_make_sense(cls, sides: tuple[int, int]) -> tuple[int, int]:
        """Refuse input sizes that no network takes."""
        if not all(16 <= side <= 1024 for side in sides):
            raise ValueError("each side must be between 16 and 1024 pixels")
        return sides

    @model_serializer(mode="wrap")
    def _without_absent_weights(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out a file that is not given: checkpoints and bundles of older versions do not have the key."""
        tree: dict[str, Any] = serialise(self)
        return {key: value for key, value in tree.items() if key != "weights" or value is not None}

"""The shape of what /predict answers, for its description in /openapi.json."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline.serving.limits import Limits


class TaskAnswer(BaseModel, extra="forbid"):
    """The answer to one task."""

    label: str
    probabilities: dict[str, float] = Field(description="Class -> probability; they add up to 1.")
    unsure: bool = Field(description="Whether the probability is below the bundle's predict.unsure.")


class PhotoAnswer(BaseModel):
    """What is predicted for one photo."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    path: str = Field(description="The name of the uploaded file, or the photo's number.")
    status: Literal["ok", "no_face", "unreadable"] = Field(
        description="no_face: no face was found, and the middle of the photo was predicted."
    )
    found_by: str | None = Field(description="The detector that found the face, or fallback.")
    box: list[float] | None = Field(description="x1, y1, x2, y2 of the face in pixels of the upright photo.")
    score: float | None = Field(description="The detector's, between 0 and 1.")
    landmarks: list[list[float]] | None = Field(description="Left eye, right eye, nose, left and right mouth corner.")
    tasks: dict[str, TaskAnswer]
    joint_class: int | None = Field(alias="class", description="The index of the joint class.")
    faces: int | None = Field(description="How many faces were found in the photo.")
    message: str = Field(default="", description="Why the photo could not be read.")


class PredictAnswer(BaseModel, extra="forbid"):
    """The predictions, in the order of the photos."""

    predictions: list[PhotoAnswer]


class Problem(BaseModel):
    """Why there is no answer."""

    detail: str


def predict_description(limits: Limits) -> dict[str, Any]:
    """Describe the request of /predict for OpenAPI."""
    photo = {"type": "string", "format": "binary"}
    size = f"{limits.max_bytes / 1e6:g} MB together"
    return {
        "requestBody": {
            "required": True,
            "description": f"Photos as files of a form, {limits.queue} at most, or the bytes of one photo; {size}.",
            "content": {
                "multipart/form-data": {
                    "schema": {"type": "object", "properties": {"photo": {"type": "array", "items": photo}}}
                },
                "image/*": {"schema": photo},
                "application/octet-stream": {"schema": photo},
            },
        }
    }


PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "There is no photo in the request."},
    401: {"model": Problem, "description": "The token is missing or wrong."},
    408: {"model": Problem, "description": "The upload took too long."},
    413: {"model": Problem, "description": "The upload is too large."},
    422: {"model": PredictAnswer, "description": "No photo of the request can be read; `message` says why."},
    503: {"model": Problem, "description": "Too much is waiting; the header Retry-After says when to try again."},
}

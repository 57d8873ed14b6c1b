"""Try a planned network before a photo is read: is there such a network, and can it be trained on its inputs?

Plan -> nothing, or an error that names the setting. The trial is on torch's meta device, which computes shapes only: it
takes half a second and no memory. Weights that have to be downloaded are, so that a missing connection shows here, too.
"""

import timm
import torch
from torch import Tensor

from cache.errors import FacelineError, UsageError
from classify.models.backbones import (
    build_network,
    features_of,
    head_of,
    loads_weights,
    needs_hub,
    size_made_for,
    tie_rows,
)
from classify.models.network_plan import Plan
from classify.models.pretrained_weights import is_hub_name
from classify.training.optimisation import build_optimiser
from classify.training.probe import linear_head_of


def refuse_unusable_network(plan: Plan, step_size: int | None = None) -> None:
    """Raise an error if the network of a plan can't be trained.

    Args:
        plan: one network of a run.
        step_size: images in a step, where that is not `train.batch`.

    Raises:
        UsageError: there is no such backbone, weights or optimiser, or the backbone can't take the inputs or the step.
        BundleError: the pretrained weights can't be downloaded or are not installed.
    """
    model, train, heads = plan.model, plan.train, plan.heads
    count = min(step_size or train.batch, 2)  # more take memory, but no other path
    try:
        with torch.device("meta"), torch.no_grad():
            network = build_network(model, heads.outputs, pretrained=False).train(not train.freeze)
            if train.freeze or train.probe:
                linear_head_of(network, plan)
            tie_rows(network, heads.tied)
            build_optimiser(network, train)
            images = torch.zeros(count, 3, *model.input)
            logits = head_of(network)(features_of(network, images)) if train.freeze else network(images)
    except FacelineError:
        raise
    except Exception as error:  # each backbone has errors of its own for sizes that it can't take
        raise UsageError(_in_words(error, plan)) from error
    if not isinstance(logits, Tensor) or logits.shape != (count, heads.outputs):
        raise UsageError(f"model.backbone: {model.backbone} does not give one row of outputs an image; choose another")
    if needs_hub(model) and not (is_hub_name(model.backbone) or timm.is_model_pretrained(model.backbone)):
        raise UsageError(
            f"model.pretrained: timm has no weights for {model.backbone}; start from random ones with "
            "--set model.pretrained=false, or choose one of timm.list_models(pretrained=True)"
        )
    if loads_weights(model):
        build_network(model, heads.outputs, pretrained=True)  # downloads the weights, or reads the file


def _in_words(error: Exception, plan: Plan) -> str:
    """Say what an error of the network means, and what to do."""
    backbone, (height, width) = plan.model.backbone, plan.model.input
    reason = str(error).strip().split("\n")[0].removesuffix(".")
    if "more than 1 value per channel" in reason:
        return (
            f"train.batch: {backbone} normalises over the photos of a step, and can't with a single one of "
            f"{height}x{width} pixels; train on two or more a step, or raise model.input"
        )
    size = size_made_for(plan.model)
    made_for = f" It was made for {size[0]}x{size[1]};" if size else ""
    return (
        f"model.input: {backbone} can't take inputs of {height}x{width} (height x width): {reason}.{made_for} "
        "set another model.input or model.backbone"
    )

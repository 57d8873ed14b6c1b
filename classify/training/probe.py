"""Fit a network's last layer on its features of the training photos, without steps of training.

Plan + NetworkData + network -> the same network with a fitted last layer.

With `train.freeze` that is the entire training; with `train.probe`, it comes before the training of all layers.
"""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cache.errors import UsageError
from classify.data.augmentation import build_augmenter
from classify.data.training_set import NetworkData, TrainingSet
from classify.data.views import UNAUGMENTED, AugmentedViews
from classify.devices import BATCH, to_device
from classify.distributed import SINGLE_PROCESS, Ranks
from classify.models.backbones import features_of, head_of, normalise_of
from classify.models.frozen_features import FrozenFeatures, compute_features
from classify.models.network_plan import Plan
from classify.training.last_layer import LastLayer, fit_last_layer

PROBE_VIEWS = 2  # the photo and its mirror image: the last layer is only where the training starts


def fit_head(
    network: nn.Module,
    plan: Plan,
    data: NetworkData,
    *,
    views: int,
    seed: int,
    device: str,
    workers: int = 0,
    ranks: Ranks = SINGLE_PROCESS,
    frozen: FrozenFeatures | None = None,
) -> LastLayer:
    """Fit the last layer of `network` and put it in.

    Each process computes features of its part of the photos; the first one fits, and all get its layer.

    Args:
        network: on `device`; put into evaluation mode.
        plan: its tasks and settings.
        data: inputs and labels.
        views: of each photo: 1 is the photo as it is, 2 its mirror image, too, more are augmented.
        seed: decides the augmentation.
        device: as torch names it.
        workers: processes that make augmented images; 0 makes them in this one.
        ranks: this process among those that train together.
        frozen: features of the same backbone, kept for other networks.

    Raises:
        UsageError: the network's last layer is not linear, or a feature is not finite.
    """
    head = linear_head_of(network, plan)
    network.eval()
    training_set, augmenter = data.training_set(plan.heads), build_augmenter(plan, data.margin)
    photos = len(training_set.rows)
    batches = AugmentedViews(
        training_set, augmenter, views=views, batch=BATCH[torch.device(device).type], seed=seed, ranks=ranks
    )

    # Features and targets of all photos, view after view
    features, targets = torch.empty(0), torch.empty((views * photos, training_set.targets.shape[1]))
    load = batches.load(workers)
    views_here = _features_and_targets(network, data, training_set, load, views, ranks, device, frozen)
    for view, parts in enumerate(views_here):
        view_features, view_targets = (ranks.all_gather(part, photos) for part in parts)
        if not view:
            features = view_features.new_empty((views * photos, view_features.shape[1]))
        features[view * photos : (view + 1) * photos] = view_features
        targets[view * photos : (view + 1) * photos] = view_targets

    # A photo counts as often as training would show it.
    times = augmenter.multipliers(training_set.augmentation_groups).astype(np.float32)
    if training_set.sampling_weights is not None:
        times = (len(times) * training_set.sampling_weights).astype(np.float32)
    targets *= torch.from_numpy(times).repeat(views)[:, None]

    # Fit, in one process: sums in another order would give another layer
    def fit() -> dict[str, Any]:
        layer = fit_last_layer(features.to(device), targets.to(device), plan.heads, training_set.person_ids)
        return {**asdict(layer), "weight": layer.weight.tolist(), "bias": layer.bias.tolist()}

    values = ranks.broadcast(fit) if ranks.world_size > 1 else fit()
    layer = LastLayer(torch.tensor(values["weight"]), torch.tensor(values["bias"]), values["penalties"], values["loss"])
    with torch.no_grad():
        head.weight.copy_(layer.weight)
        head.bias.copy_(layer.bias)
    return layer


def linear_head_of(network: Any, plan: Plan) -> nn.Linear:
    """The last layer, if it can be fitted.

    Raises:
        UsageError: it is not linear.
    """
    head = head_of(network)
    if not isinstance(head, nn.Linear) or isinstance(network.get_classifier(), tuple):
        key = "train.freeze" if plan.train.freeze else "train.probe"
        raise UsageError(f"{key} fits a linear last layer, and {plan.model.backbone} has none; choose another backbone")
    return head


def _features_and_targets(
    network: nn.Module,
    data: NetworkData,
    training_set: TrainingSet,
    batches: Iterator[tuple[Tensor, Tensor]],
    views: int,
    ranks: Ranks,
    device: str,
    frozen: FrozenFeatures | None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield features and targets of this process's photos for each view; `batches` are those of augmented views."""
    normalise = normalise_of(network)
    unaugmented = frozen.of if frozen else compute_features
    rows, targets = training_set.rows[ranks.rank_slice], training_set.targets[ranks.rank_slice]
    for view in range(views):
        if view < UNAUGMENTED:
            mirrored = view == 1
            features = unaugmented(network, normalise, data.pixels, device, rows=rows, mirrored=mirrored)
            yield features, torch.from_numpy(targets)
            continue
        parts: list[tuple[Tensor, Tensor]] = []
        while sum(len(part) for part, _ in parts) < len(rows):
            images, view_targets = next(batches)
            with torch.inference_mode():
                features = features_of(network, normalise(to_device(images, device))).float().cpu()
            parts.append((features, view_targets))
        yield torch.cat([part for part, _ in parts]), torch.cat([part for _, part in parts])

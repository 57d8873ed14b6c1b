"""Fit the last layer of a network on features of its frozen backbone.

features (N, D) + targets (N, columns) of the heads -> weights (O, D) and biases (O,) of a linear last layer.

The fit is the penalised optimum, found by L-BFGS: no learning rate, no epochs, no random draws. Each head has a penalty
of its own, chosen on people that a fit has not seen: with frozen features, heads do not influence each other.

Source: Kumar et al., "Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution", 2022, for the
fit before a training; Böhning, "Multinomial Logistic Regression Algorithm", 1992, for the bound on the curvature that
scales the steps.
"""

from dataclasses import dataclass
from itertools import accumulate
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold
from torch import Tensor

from cache.errors import UsageError
from classify.models.heads import Head, Heads
from classify.models.ordinal_heads import CoralHead

# On the sum of squared weights, beside the mean loss of a fit for the choice. The last fit has more photos, and a
# penalty that is smaller in proportion.
PENALTIES = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
CHOICE_VIEWS, CHOICE_PHOTOS = 2, 10_000  # the first views of at most so many photos decide the penalties
FOLDS = 3  # of people, for the choice of the penalty
PATIENCE = 2  # penalties in a row that are worse than the best before; smaller ones are not tried then
ITERATIONS = (20, 100)  # at most, of a fit for the choice and of the last one
TOLERANCE = (1e-5, 1e-7)  # change of the loss that ends a fit, likewise
SMALLEST_STD = 1e-6  # features that hardly vary are not scaled up
CURVATURE = 0.25  # of a cross-entropy in an output, at most
GRAM_ROWS = 4096  # from which the features' correlations are computed: they only decide how fast the fit is

Layer = tuple[Tensor, Tensor]  # weights (O, D), or one row for all outputs of a CORAL head, and biases (O,)
Basis = tuple[Tensor, Tensor]  # eigenvalues (D,) and eigenvectors (D, D) of the features' correlations


@dataclass(frozen=True)
class LastLayer:
    """A fitted linear layer."""

    weight: Tensor  # (O, D) for features as they are, not standardised
    bias: Tensor  # (O,)
    penalties: dict[str, float]  # chosen for each task
    loss: float  # of all heads, on the rows of the fit, without the penalties


def fit_last_layer(features: Tensor, targets: Tensor, heads: Heads, person_ids: NDArray[np.intp]) -> LastLayer:
    """Minimise each head's loss plus a penalty times the sum of squared weights of standardised features.

    Args:
        features: (V * P, D) float32 of V views of P photos; standardised in place, since a copy may not fit in memory.
        targets: (V * P, columns) rows of `heads.encode`, times a weight; rows of zeros count for nothing.
        heads: what the outputs mean, and their losses.
        person_ids: (P,) a number for each person.

    Raises:
        UsageError: a feature is not finite.
    """
    mean, std = _standardise(features)
    photos = len(person_ids)
    basis = _basis(features[:photos])
    weights: list[Tensor] = []
    biases: list[Tensor] = []
    penalties: dict[str, float] = {}
    for head, columns in _target_parts(heads, targets):
        rows = columns.sum(dim=1).nonzero().squeeze(1)
        penalty, start = _choose_penalty(features, columns, head, person_ids, basis)
        all_labelled = len(rows) == len(features)  # then there is nothing to copy
        inputs, labels = (features, columns) if all_labelled else (features[rows], columns[rows])
        weight, bias = _minimise(inputs, labels, head, penalty, basis, start, last=True)
        penalties |= {task.name: penalty for task in head.tasks}
        weights.append(weight.expand(head.outputs, -1))
        biases.append(bias)
    weight, bias = torch.cat(weights), torch.cat(biases)
    loss = float(heads.loss(features @ weight.T + bias, targets))
    weight = weight.double() / std
    return LastLayer(weight.float(), (bias.double() - weight @ mean).float(), penalties, loss)


def _standardise(features: Tensor) -> tuple[Tensor, Tensor]:
    """Give each feature the mean 0 and, unless it hardly varies, the standard deviation 1, in place.

    Returns:
        The mean and the standard deviation before, (D,) double.
    """
    mean = features.mean(dim=0)
    features -= mean
    std = features.square().mean(dim=0).sqrt()
    std = torch.where(std < SMALLEST_STD, torch.ones_like(std), std)
    features /= std
    if not bool(torch.isfinite(std).all()):
        raise UsageError(
            "the backbone's features are not finite, so no last layer can be fitted on them; choose another "
            "model.backbone, or model.pretrained=true if its weights are random"
        )
    return mean.double(), std.double()


def _basis(features: Tensor) -> Basis:
    rows = features[:: -(-len(features) // GRAM_ROWS)]
    values, vectors = torch.linalg.eigh(rows.T @ rows / len(rows))
    return values.clamp_min(0), vectors


def _target_parts(heads: Heads, targets: Tensor) -> list[tuple[Head, Tensor]]:
    ends = accumulate(head.columns for head in heads.parts)
    return [
        (head, targets[:, end - head.columns : end].contiguous()) for head, end in zip(heads.parts, ends, strict=True)
    ]


def _choose_penalty(
    features: Tensor, targets: Tensor, head: Head, person_ids: NDArray[np.intp], basis: Basis
) -> tuple[float, Layer | None]:
    """The penalty with the smallest loss on people that the fit has not seen, and a layer to start from.

    A photo's loss is that of the mean output of its views, as prediction takes the mean over a photo and its mirror
    image. With fewer than two people, the strongest penalty is taken.
    """
    photos = len(person_ids)
    labelled = (targets[:photos].sum(dim=1) > 0).nonzero().squeeze(1)
    labelled = labelled[:: max(-(-len(labelled) // CHOICE_PHOTOS), 1)]
    people = person_ids[labelled.cpu().numpy()]
    folds = min(FOLDS, len(np.unique(people)))
    if folds < 2:
        return PENALTIES[0], None
    by_view = features.view(-1, photos, features.shape[1])[:CHOICE_VIEWS, labelled]
    targets_by_view = targets.view(-1, photos, targets.shape[1])[:CHOICE_VIEWS, labelled]
    parts = [
        (by_view[:, inside].flatten(0, 1), targets_by_view[:, inside].flatten(0, 1), outside)
        for inside, outside in GroupKFold(folds).split(people, groups=people)
    ]
    layers: list[Layer | None] = [None] * folds  # of each fold: the fit with one penalty starts from that before
    best, best_loss, best_layer = PENALTIES[0], float("inf"), None
    worse = 0
    for penalty in PENALTIES:
        loss = 0.0
        for fold, (inputs, columns, outside) in enumerate(parts):
            weight, bias = _minimise(inputs, columns, head, penalty, basis, layers[fold], last=False)
            layers[fold] = weight, bias
            outputs = (by_view[:, outside] @ weight.T + bias).mean(dim=0)
            true = targets_by_view[0, outside]
            loss += float(head.loss(outputs, true) * true.sum())
        if loss < best_loss:
            best, best_loss, best_layer, worse = penalty, loss, layers[0], 0
        else:
            worse += 1
            if worse == PATIENCE:
                break
    return best * (folds - 1) / folds, best_layer


def _minimise(
    inputs: Tensor, targets: Tensor, head: Head, penalty: float, basis: Basis, start: Layer | None, *, last: bool
) -> Layer:
    """Fit one head, from `start` or from zeros.

    The weights are sought in coordinates in which the loss curves about equally in all directions: as features are
    correlated, it would take hundreds of iterations otherwise.
    """
    values, vectors = basis
    scale = (CURVATURE * values + 2 * penalty).rsqrt()
    rows = 1 if isinstance(head, CoralHead) else head.outputs
    if start is None:
        start = inputs.new_zeros(rows, inputs.shape[1]), inputs.new_zeros(head.outputs)
    coordinates = (start[0] @ vectors / scale).requires_grad_()
    bias = start[1].clone().requires_grad_()
    optimiser = torch.optim.LBFGS(
        [coordinates, bias],
        max_iter=ITERATIONS[last],
        tolerance_change=TOLERANCE[last],
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        scaled = coordinates * scale
        outputs = inputs @ (scaled @ vectors.T).T + bias
        loss = head.loss(outputs, targets) + penalty * scaled.square().sum()
        loss.backward()
        return loss

    optimiser.step(cast("Any", closure))  # torch's annotation asks for a float, its code for a tensor
    with torch.no_grad():
        return (coordinates * scale) @ vectors.T, bias.detach()

"""What a checkpoint belongs to: a training goes on only with the settings, labels and photos that it was begun with.

Plan + NetworkData + targets + seed -> fingerprints.
"""

import hashlib
from typing import Any

from cache.config import fingerprint
from classify.config import TaskConfig, TrainConfig
from classify.data.training_set import NetworkData
from classify.models.heads import Targets
from classify.models.network_plan import Plan
from classify.models.pretrained_weights import weights_digest


def identities(plan: Plan, data: NetworkData, targets: Targets, seed: int) -> tuple[str, str]:
    """Return a training's fingerprint, and the one that versions wrote which did not look at the photos' content.

    Args:
        plan: the network's tasks and settings.
        data: inputs and labels.
        targets: (R, columns) of the training samples.
        seed: of everything random.
    """
    identity: dict[str, Any] = {
        "configs": [_settings_of(config) for config in plan.configs],
        "seed": seed,
        "train": data.train.tolist(),
        "validate": data.validate.tolist(),
        "codes": data.codes.tolist(),
        "targets": hashlib.sha256(targets.tobytes()).hexdigest(),
    }
    if plan.model.weights is not None:
        identity["weights"] = weights_digest(plan.model.weights)
    return fingerprint({**identity, "sources": data.sources_digest}), fingerprint(identity)


def _settings_of(config: TaskConfig) -> dict[str, Any]:
    """A task's settings; those that older versions did not have only where they are not at their defaults."""
    settings = config.model_dump(mode="json")
    for key in ("probe", "views"):
        if settings["train"][key] == TrainConfig.model_fields[key].default:
            del settings["train"][key]
    return settings

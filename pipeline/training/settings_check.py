"""Refuse settings that no training can follow, before a photo is read, and find those that have no effect.

In: settings. Out: nothing, or an error that names the setting; warnings. What depends on the photos is checked later.
"""

from classify.config import TrainConfig
from classify.data.augmentation import build_augmenter, needed_margin
from classify.models.network_plan import plan_networks
from classify.training.network_trial import refuse_unusable_network
from classify.training.optimisation import refuse_without_compiler
from pipeline.settings import Settings
from pipeline.training.network_data import refuse_wrong_masks, refuse_wrong_rules
from pipeline.training.trackers import refuse_missing_trackers

# What says how steps are made, or which steps' weights are kept; train.freeze makes none.
OF_STEPS = (
    "epochs", "batch", "optimiser", "lr", "head_lr_scale", "weight_decay", "schedule", "warmup", "step_epochs",
    "step_decay", "clip_norm", "ema", "cutmix_with", "keep", "soup", "compile", "precision",
)  # fmt: skip


def refuse_unusable_settings(settings: Settings) -> None:
    """Try the augmentation and the network of every plan.

    Raises:
        UsageError: settings contradict each other; a transform, rule, class, backbone or optimiser can't be used; or a
            tracker's package is not installed.
        BundleError: pretrained weights can't be downloaded.
    """
    refuse_missing_trackers(settings)
    plans = [plan for configs in settings.task_configs.values() for plan in plan_networks(configs)]
    for plan in plans:
        build_augmenter(plan, needed_margin(plan))
        refuse_wrong_rules(plan, settings.task_list())
        refuse_without_compiler(plan.train)
    refuse_wrong_masks(plans, settings)
    for plan in plans:  # last, as weights may have to be downloaded
        refuse_unusable_network(plan)


def settings_without_effect(settings: Settings) -> list[str]:
    """A warning for each network about settings of its training that differ from their defaults and do nothing."""
    warnings: list[str] = []
    plans = [plan for configs in settings.task_configs.values() for plan in plan_networks(configs)]
    for plan in plans:
        keys = OF_STEPS if plan.train.freeze else ("views",)
        unused = [key for key in keys if getattr(plan.train, key) != TrainConfig.model_fields[key].default]
        if unused:
            names = ", ".join(f"train.{key}" for key in unused)
            reason = "train.freeze makes no steps" if plan.train.freeze else "train.freeze is not set"
            warnings.append(f"{plan.name}: {names} {'has' if len(unused) == 1 else 'have'} no effect, as {reason}")
    return warnings

"""Settings at prediction: which are obeyed, and which the bundle decides.

In: an ensemble and the keys of `predict` that the user has set. Out: an ensemble that predicts accordingly.

A bundle predicts as it was trained to. Of the settings, only keys of `predict` that a file or --set names change that.
Nothing heavy is imported, so that a setting is refused at once.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cache.errors import UsageError
from pipeline.console import Console
from pipeline.settings import PredictConfig

if TYPE_CHECKING:
    from classify.inference.decision import DecisionRule
    from classify.inference.ensemble import Ensemble

OBEYED = ("predict", "data")  # sections that have a part in `faceline predict`
NO_PART = ("data.corrections", "data.correction_levels")


def refuse_training_settings(options: Sequence[str], bundles: Sequence[Path]) -> None:
    """Raise UsageError for a `--set` option that a trained bundle can't follow.

    Args:
        options: "key=value" as on the command line. Settings files are not looked at: they are often those of a run.
        bundles: the folders that the error names.
    """
    for option in options:
        key = option.partition("=")[0].strip()
        if key in NO_PART:
            raise UsageError(f"--set {key} has no part in predict, which reads no labels; leave it out")
        if key.split(".")[0] not in OBEYED:
            raise UsageError(
                f"--set {key} has no part in predict: {_listed(bundles)} decides it, as it was trained. Leave it out, "
                f"or train another bundle with it.\nWhat can be set here: {', '.join(_predict_keys())}, and data.* for "
                "tables."
            )


def with_predict_settings(ensemble: "Ensemble", predict: PredictConfig, console: Console) -> "Ensemble":
    """Let the keys of `predict` that the user has set replace what the bundles say.

    Args:
        ensemble: as it was read.
        predict: settings; a key that has its default without being set changes nothing.
        console: for a warning where a key can have no effect.

    Raises:
        UsageError: the bundles can't follow a key.
    """
    keys = predict.model_fields_set
    rules = [ensemble.decision_rule(task.name) for task in ensemble.tasks]
    own_rules = [bundle.decision_rule(task.name) for bundle in ensemble.bundles for task in ensemble.tasks]
    has_factors = any(rule.factors for rule in rules)
    has_temperatures = any(rule.temperature != 1 for rule in (*rules, *own_rules))
    changes: list[Callable[[DecisionRule], DecisionRule]] = []

    if "decide" in keys and predict.decide != "probable" and not has_factors:
        raise UsageError(
            f"predict.decide={predict.decide} needs class factors, and {_names(ensemble)} has none: they are fitted in "
            f"training, with --set predict.decide={predict.decide}, and for several bundles by faceline vote with the "
            "same option. Set predict.decide=probable."
        )
    if "decide" in keys and predict.decide != "probable" and ensemble.decide not in ("", "probable", predict.decide):
        raise UsageError(
            f"predict.decide={predict.decide}: the class factors of {_names(ensemble)} were fitted with "
            f"predict.decide={ensemble.decide}; leave the setting out, or train or vote again with it"
        )
    if "decide" in keys and predict.decide == "probable":
        changes.append(lambda rule: replace(rule, factors=()))
        has_factors = False
    if "calibrate" in keys and not predict.calibrate:
        if has_factors and has_temperatures:
            raise UsageError(
                f"predict.calibrate=false: the class factors of {_names(ensemble)} were fitted to calibrated "
                "probabilities; add --set predict.decide=probable"
            )
        changes.append(lambda rule: replace(rule, temperature=1.0))
    if "calibrate" in keys and predict.calibrate and not has_temperatures:
        console.line(f"{_names(ensemble)} has no temperatures, so the probabilities are not calibrated")
    if "unsure" in keys:
        changes.append(lambda rule: replace(rule, unsure_below=predict.unsure))

    bundles = tuple(
        replace(
            bundle,
            flip=predict.flip if "flip" in keys else bundle.flip,
            decision_rules=_changed(bundle.decision_rules, ensemble, changes),
            held_out_temperatures=bundle.held_out_temperatures if predict.calibrate else {},
        )
        for bundle in ensemble.bundles
    )
    return replace(ensemble, bundles=bundles, decision_rules=_changed(ensemble.decision_rules, ensemble, changes))


def _changed(
    rules: "Mapping[str, DecisionRule]",
    ensemble: "Ensemble",
    changes: "Sequence[Callable[[DecisionRule], DecisionRule]]",
) -> "Mapping[str, DecisionRule]":
    """Apply the changes to the rule of every task."""
    from classify.inference.decision import DecisionRule

    if not changes:
        return rules
    changed = {task.name: rules.get(task.name, DecisionRule()) for task in ensemble.tasks}
    for change in changes:
        changed = {name: change(rule) for name, rule in changed.items()}
    return changed


def _names(ensemble: "Ensemble") -> str:
    """The bundles, as the user has named them."""
    return _listed([folder for folder, _ in ensemble.origins])


def _listed(bundles: Sequence[Path]) -> str:
    return " and ".join(map(str, bundles)) or "the bundle"


def _predict_keys() -> list[str]:
    return [f"predict.{name}" for name in PredictConfig.model_fields]

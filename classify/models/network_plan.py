"""Which networks are trained: one per task, one with a head per task, or one over the joint classes.

the tasks' settings + model.sharing -> Plans; each becomes one network.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from cache.errors import UsageError
from classify.config import HeadConfig, ModelConfig, TaskConfig, TrainConfig
from classify.models.heads import Heads, build_heads
from classify.tasks import Task

# Keys that may differ between tasks that share a network; all others must be the same.
FREE_IF_SHARED: dict[str, set[str]] = {
    "model": set(),
    "train": {"loss", "gamma", "smoothing"},
    "augment": {"classes", "groups", "balance"},
}
# With one head over the joint classes, the loss must be the same, too.
FREE_IF_JOINT = {**FREE_IF_SHARED, "train": set[str]()}


@dataclass(frozen=True)
class Plan:
    """One network that will be trained."""

    name: str  # of its folder in RUN and of its file in the bundle
    tasks: tuple[Task, ...]  # that it predicts
    configs: tuple[TaskConfig, ...]  # the settings of each task
    joint: bool = False  # one output per joint class, not one head per task

    @cached_property
    def heads(self) -> Heads:
        """The heads, which give its outputs their meaning."""
        return build_heads(self.tasks, self.configs, joint=self.joint)

    @property
    def model(self) -> ModelConfig:
        """The settings of the network."""
        return self.configs[0].model

    @property
    def train(self) -> TrainConfig:
        """The settings of the training."""
        return self.configs[0].train


def plan_networks(configs: Mapping[str, TaskConfig]) -> list[Plan]:
    """The networks that together predict all tasks.

    Raises:
        UsageError: tasks that share a network have different settings for it, or a setting has no effect.
    """
    tasks = tuple(config.task(name) for name, config in configs.items())
    task_configs = tuple(configs.values())
    sharing = task_configs[0].model.sharing
    for task, config in zip(tasks, task_configs, strict=True):
        _check_cutmix_class(task, config, tasks)
        if config.model.sharing != sharing:
            raise UsageError(
                f"tasks.{task.name}.model.sharing is {config.model.sharing}, and "
                f"tasks.{tasks[0].name}.model.sharing is {sharing}; set the same model.sharing for all tasks"
            )
    if sharing == "separate":
        return [Plan(task.name, (task,), (config,)) for task, config in zip(tasks, task_configs, strict=True)]
    if sharing == "joint":
        _refuse_heads(tasks, task_configs)
    for task, config in zip(tasks, task_configs, strict=True):
        for section, free in (FREE_IF_JOINT if sharing == "joint" else FREE_IF_SHARED).items():
            first = getattr(task_configs[0], section).model_dump(exclude=free)
            for key, value in getattr(config, section).model_dump(exclude=free).items():
                if value != first[key]:
                    raise UsageError(
                        f"tasks.{task.name}.{section}.{key} is not what tasks.{tasks[0].name}.{section}.{key} is, and "
                        f"with model.sharing={sharing} one network predicts both; set it for all tasks, or set "
                        "model.sharing=separate"
                    )
    return [Plan(sharing, tasks, task_configs, joint=sharing == "joint")]


def _check_cutmix_class(task: Task, config: TaskConfig, tasks: tuple[Task, ...]) -> None:
    """Refuse a `train.cutmix_with` that is a class of no task."""
    name = config.train.cutmix_with
    known = [class_name for other in tasks for class_name in other.classes]
    if name and name not in known:
        raise UsageError(f"tasks.{task.name}.train.cutmix_with is {name!r}, which is none of {', '.join(known)}")


def _refuse_heads(tasks: tuple[Task, ...], configs: tuple[TaskConfig, ...]) -> None:
    """Refuse settings of heads, class weights apart, that a network over the joint classes can't follow."""
    defaults = HeadConfig()
    for task, config in zip(tasks, configs, strict=True):
        for key in HeadConfig.model_fields:
            if key != "weights" and getattr(config.head, key) != getattr(defaults, key):
                raise UsageError(
                    f"tasks.{task.name}.head.{key} has no effect with model.sharing=joint, whose one head is of the "
                    "joint classes; leave it out, or set another model.sharing"
                )

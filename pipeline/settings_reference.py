"""The reference page of all settings, generated from the settings classes.

python -m pipeline.settings_reference > docs/reference/settings.md
"""

import json
import types
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from classify.augment_config import AugmentConfig, ClassAugment, GroupAugment
from classify.config import HeadConfig, ModelConfig, TaskConfig
from detect.config import CropConfig, DetectConfig
from pipeline.card_config import CardConfig
from pipeline.settings import (
    DataConfig,
    EnsembleMember,
    MaskConfig,
    PredictConfig,
    RunTrainConfig,
    Settings,
    SplitConfig,
)

SECTIONS: tuple[tuple[str, type[BaseModel]], ...] = (
    ("", Settings),
    ("data", DataConfig),
    ("detect", DetectConfig),
    ("crop", CropConfig),
    ("model", ModelConfig),
    ("train", RunTrainConfig),
    ("tasks.NAME", TaskConfig),
    ("tasks.NAME.head", HeadConfig),
    ("tasks.NAME.augment", AugmentConfig),
    ("tasks.NAME.augment.classes.CLASS", ClassAugment),
    ("tasks.NAME.augment.groups", GroupAugment),
    ("ensemble.NAME", EnsembleMember),
    ("masks", MaskConfig),
    ("split", SplitConfig),
    ("predict", PredictConfig),
    ("card", CardConfig),
)
HEAD = """# Settings

Every key of a `--config` file and of `--set KEY=VALUE`. `--config` and `--set` may be repeated: files are laid over
each other in their order, and options over the files. A key of `model` or `train` applies to every task that does not
set it itself, under `tasks.NAME.model` or `tasks.NAME.train`; in a later file or an option, it wins over these too.

This page is generated from the settings classes: `python -m pipeline.settings_reference > docs/reference/settings.md`.
"""


def settings_page() -> str:
    """Return the page as Markdown."""
    parts = [HEAD]
    for prefix, section in SECTIONS:
        parts.append(f"\n## {f'`{prefix}`' if prefix else 'Top level'}\n\n{(section.__doc__ or '').splitlines()[0]}\n")
        parts.append("\n| key | value | default | meaning |\n|---|---|---|---|\n")
        for name, field in section.model_fields.items():
            key = f"{prefix}.{name}" if prefix else name
            parts.append(f"| `{key}` | {_type(field.annotation)} | {_default(field)} | {_meaning(field)} |\n")
    return "".join(parts)


def _type(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is type(None):
        return "null"
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin in {Union, types.UnionType}:
        return " or ".join(_type(argument) for argument in arguments)
    if origin is tuple:
        return f"list of {_type(arguments[0])}" if Ellipsis in arguments else f"[{', '.join(map(_type, arguments))}]"
    if origin is dict:
        return f"map to {_type(arguments[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    return {"str": "text", "int": "whole number", "float": "number", "bool": "true or false", "Path": "file"}.get(
        getattr(annotation, "__name__", ""), "value"
    )


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "mask, gender, age" if field.description == Settings.model_fields["tasks"].description else "required"
    if isinstance(field.default, BaseModel):
        return "see below"
    return f"`{json.dumps(field.default, default=str)}`"


def _meaning(field: FieldInfo) -> str:
    limits = [
        f"{sign} {getattr(rule, name):g}"
        for rule in field.metadata
        for name, sign in (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<"))
        if getattr(rule, name, None) is not None
    ]
    description = field.description or ""
    return f"{description} ({', '.join(limits)})" if limits else description


if __name__ == "__main__":
    print(settings_page(), end="")

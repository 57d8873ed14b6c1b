"""The Python of an export: modules of faceline that need neither torch nor anything else but numpy and OpenCV.

They are copied as they are, into one package; only the lines that import one from another are changed.
"""

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

PACKAGE = "faceline_runtime"
SCRIPT = "pipeline.export.predict_script"
MODULES = {
    "cache.errors": "errors",
    "classify.inference.decision": "decision",
    "classify.preprocessing": "preprocessing",
    "detect.faces": "faces",
    "detect.ladder": "ladder",
    "detect.modes": "modes",
    "detect.portable_mtcnn": "mtcnn",
    "detect.subject": "subject",
    "detect.window": "window",
    "detect.yunet": "yunet",
    "pipeline.export.portable_decode": "decode",
    "pipeline.export.portable_predictor": "predictor",
    "pipeline.export.portable_sessions": "sessions",
}
ABOUT = '''"""Predicts photos without torch; copied from faceline, MIT licence. Open `predictor.py` first."""
'''


def runtime_files() -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each Python file of an export."""
    yield "predict.py", _rewritten(SCRIPT)
    yield f"{PACKAGE}/__init__.py", ABOUT
    for module, name in MODULES.items():
        yield f"{PACKAGE}/{name}.py", _rewritten(module)


def _rewritten(module: str) -> str:
    """The text of a module, with imports of other modules of the runtime from its package."""
    spec = importlib.util.find_spec(module)
    assert spec is not None and spec.origin is not None
    text = Path(spec.origin).read_text(encoding="utf-8")
    names = "|".join(map(re.escape, MODULES))
    return re.sub(rf"\bfrom ({names}) import", lambda match: f"from {PACKAGE}.{MODULES[match[1]]} import", text)

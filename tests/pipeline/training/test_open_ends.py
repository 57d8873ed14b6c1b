"""The open end of a numeric label, from the table to the bundle."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

import pipeline.training.train as training
from cache.errors import UsageError
from classify.inference.bundle import load_bundle
from pipeline.context import RunContext
from pipeline.intake.photo import Photo
from pipeline.run_record import refuse_other_settings
from pipeline.settings import load_settings
from pipeline.training.open_ends import with_open_ends
from tests.pipeline.conftest import faceline, tiny_options

YEARS = "tasks.age.head={kind: years, spread: 2.5}"
SAID = (
    "age: 60 is the largest label and the only one in its bin, so it is taken as '60 and over' "
    "(set tasks.age.head.top to change this)"
)


def photos(*ages):
    return [Photo(Path(f"{i}.jpg"), f"{i}.jpg", f"person{i}", {"age": age}) for i, age in enumerate(ages)]


def resolved(overrides, ages, **fields):
    context = RunContext(load_settings(None, overrides), Path("cache"), **fields)
    return with_open_ends(context, photos(*ages)).settings.tasks


@pytest.mark.parametrize(
    ("overrides", "ages", "top", "said"),
    [
        ([YEARS], ["18", "59", "60", "60"], 60, [SAID]),
        (["tasks.age.head.spread=2.5"], [18.0, 59.0, 60.0, 60.0], 60, [SAID]),
        ([YEARS], ["18", "60", "60", "71"], None, []),
        ([YEARS, "tasks.age.head.top=65"], ["18", "60", "60"], 65, []),
        ([YEARS, "tasks.age.head.top=null"], ["18", "60", "60"], None, []),
        (["tasks.age.head.kind=ordinal"], ["18", "60", "60"], None, []),
        ([], ["18", "60", "60"], None, []),
        (["model.sharing=joint"], ["18", "60", "60"], None, []),
        ([YEARS], [], None, []),
    ],
)
def test_an_open_end_is_found_in_the_labels_and_said_unless_a_setting_decides(overrides, ages, top, said, capsys):
    tasks = resolved(overrides, ages)
    assert tasks["age"].head.top == top
    assert (tasks["mask"].head.top, tasks["gender"].head.top) == (None, None)
    assert capsys.readouterr().err.splitlines() == said


class OtherRank:
    """Rank 1, which receives what rank 0 found."""

    rank, world_size, is_main = 1, 2, False

    def broadcast(self, _):
        return {"mask": None, "gender": None, "age": 60}


def test_the_other_processes_of_a_training_have_what_rank_0_found(capsys):
    assert resolved([YEARS], [], ranks=OtherRank())["age"].head.top == 60
    assert capsys.readouterr().err == ""


def test_a_run_says_records_and_keeps_the_open_end_and_reads_held_out_photos_by_batch(finished, tmp_path, monkeypatch):
    inputs = []
    predict = training.probabilities

    def watched(network, heads, pixels, *arguments, **options):
        inputs.append(pixels)
        return predict(network, heads, pixels, *arguments, **options)

    monkeypatch.setattr(training, "probabilities", watched)
    words = ["--out", tmp_path / "run", "--cache", finished.cache, "--device", "cpu", *tiny_options()]
    printed = faceline("train", finished.data, *words, "--set", YEARS, "--set", "model.sharing=shared")
    assert printed.stderr.count("'60 and over'") == 1
    record = json.loads((tmp_path / "run" / "data.json").read_text())
    assert record["open_ends"] == {"age": 60}
    [network] = load_bundle(tmp_path / "run" / "bundle").networks
    assert network.plan.configs[2].head.top == 60
    assert network.heads.outputs == 3 + 2 + 61
    assert load_settings(tmp_path / "run" / "config.yaml").tasks["age"].head.top == "auto"
    [pixels] = inputs
    assert isinstance(pixels, np.memmap)
    assert len(pixels) == record["trained_on"], "all of them, uncopied"


def test_a_run_whose_settings_say_null_where_it_has_no_effect_is_continued(tmp_path):
    def write(overrides):
        tree = yaml.safe_load(load_settings(None, overrides).as_yaml())
        for task in tree["tasks"].values():
            task["head"]["top"] = None  # as earlier versions wrote it
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(tree))

    write([])
    refuse_other_settings(tmp_path, load_settings(None, []))
    write([YEARS])
    with pytest.raises(UsageError, match=r"with --out\.\n  tasks\.age\.head\.top: None there, 'auto' now$"):
        refuse_other_settings(tmp_path, load_settings(None, [YEARS]))

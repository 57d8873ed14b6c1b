"""The model card: metadata that Hugging Face's library reads, and the figures of the run."""

import json
import shutil
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from classify.inference.bundle_files import open_bundle
from pipeline.reports.model_card import model_card, write_card
from tests.pipeline.conftest import faceline


@pytest.fixture
def bundle(finished, tmp_path):
    return Path(shutil.copytree(finished.run / "bundle", tmp_path / "bundle"))


def change(bundle, **keys):
    described = json.loads((bundle / "bundle.json").read_text())
    (bundle / "bundle.json").write_text(json.dumps({**described, **keys}))
    return described


def test_a_run_writes_a_card_that_hugging_faces_library_reads(finished):
    card = ModelCard.load(finished.run / "bundle" / "README.md")
    assert card.data.library_name == "faceline"
    assert card.data.license == "unknown"
    assert card.data.pipeline_tag == "image-classification"
    results = {(result.task_name, result.metric_name): result.metric_value for result in card.data.eval_results}
    scores = json.loads((finished.run / "bundle" / "bundle.json").read_text())["metrics"]
    assert results["joint", "macro-F1"] == round(scores["joint"]["macro_f1"], 4)
    assert results["age", "accuracy"] == round(scores["age"]["accuracy"], 4)


def test_the_card_has_data_scores_groups_and_limits(bundle):
    described = json.loads((bundle / "bundle.json").read_text())
    card, joint, group = model_card(open_bundle(bundle)), described["metrics"]["joint"], described["groups"][0]
    assert "84 photos of 12 people, of which 21 photos of 3 people were held out" in card
    assert f"| joint | {joint['macro_f1']:.3f} | {joint['low']:.3f} to {joint['high']:.3f} |" in card
    assert f"| {group['group']} | {group['photos']} | {group['people']} | {group['accuracy']:.3f} |" in card
    assert "age >=60 was learned from only" in card
    assert "fewer than 30 held-out people" in card
    assert "- mask: " in card
    assert "| mask | test_resnet | 32x24 | mask | random weights (none needed) |" in card


def test_licence_data_and_use_come_from_the_settings(bundle):
    change(bundle, card={"license": "mit", "data": "Drawn people.", "intended_use": "Tests."})
    card = model_card(open_bundle(bundle))
    assert "license: mit" in card
    assert "Drawn people." in card
    assert "Tests." in card
    assert "Nobody has stated" not in card


def test_a_bundle_of_an_older_version_gets_a_card_that_says_what_is_missing(bundle):
    described = change(bundle)
    for key in ("data", "groups", "card", "written_by", "held_out_temperatures", "decide"):
        del described[key]
    del described["models"]["mask"]["weights"]
    (bundle / "bundle.json").write_text(json.dumps({**described, "metrics": {}}))
    card = model_card(open_bundle(bundle))
    assert "did not record its data" in card
    assert "Nobody was held out" in card
    assert "Not measured." in card
    assert "| mask | not recorded |" in card


def test_names_of_the_users_cannot_break_the_page(bundle):
    described = change(bundle)
    described["tasks"]["mask"]["classes"] = ["a|b", "<script>", "c\nd"]
    (bundle / "bundle.json").write_text(json.dumps(described))
    card = model_card(open_bundle(bundle))
    assert "| mask | a\\|b, \\<script>, c d |" in card


def test_the_command_prints_the_card_or_writes_it(bundle, tmp_path):
    printed = faceline("bundle", "card", bundle).stdout
    assert printed.startswith("---\n")
    faceline("bundle", "card", bundle, "--out", tmp_path / "card.md")
    assert (tmp_path / "card.md").read_text().strip() == printed.strip()


def test_a_card_that_cannot_be_written_is_a_warning(bundle):
    (bundle / "README.md").unlink()
    (bundle / "README.md").mkdir()
    warnings = []
    write_card(bundle, warnings.append)
    assert "README.md can't be written" in warnings[0]

"""A bundle in a folder and the same bundle in a .zip, and what is wrong with damaged ones."""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from cache.errors import BundleError
from classify.config import ModelConfig, TaskConfig
from classify.inference.bundle import Bundle, load_bundle, save_bundle, trained_network
from classify.inference.bundle_files import is_bundle, open_bundle, write_zip
from classify.inference.trained_photos import TrainedPhotos
from classify.models.backbones import build_network
from classify.models.network_plan import plan_networks
from classify.tasks import Task

HOUSE = Path(__file__).parents[3]
TASK = Task("smile", ("no", "yes"))
MODEL = ModelConfig(backbone="test_resnet.r160_in1k", pretrained=False, input=(32, 24))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "bundle"
    [plan] = plan_networks({"smile": TaskConfig(classes=TASK.classes, model=MODEL)})
    network = trained_network(plan, "smile", build_network(MODEL, 2, pretrained=False))
    photos = TrainedPhotos.of(["ab" * 32], [0])
    save_bundle(folder, Bundle((TASK,), (network,), {"crop": {}}, {}, 0, False, trained_photos=photos))
    (folder / "README.md").write_text("# Card")
    return folder


@pytest.fixture
def folder(made, tmp_path):
    return Path(shutil.copytree(made, tmp_path / "bundle"))


def weights_of(bundle):
    return {name: tensor.tolist() for name, tensor in bundle.networks[0].network.state_dict().items()}


def test_a_zip_is_read_as_its_folder_is(folder, tmp_path):
    write_zip(open_bundle(folder), tmp_path / "b.zip")
    packed = open_bundle(tmp_path / "b.zip")
    assert is_bundle(tmp_path / "b.zip")
    assert packed.digest == open_bundle(folder).digest
    assert packed.names() == ["README.md", "bundle.json", "smile.safetensors", "trained_photos.safetensors"]
    assert packed.size("smile.safetensors") == (folder / "smile.safetensors").stat().st_size
    one, other = load_bundle(folder), load_bundle(tmp_path / "b.zip")
    assert weights_of(one) == weights_of(other)
    assert other.trained_photos is not None
    write_zip(packed, tmp_path / "c.zip")
    assert (tmp_path / "c.zip").read_bytes() == (tmp_path / "b.zip").read_bytes(), "the same bundle, the same .zip"


def test_a_zip_that_a_file_manager_made_is_read_too(folder, tmp_path):
    shutil.make_archive(str(tmp_path / "packed"), "zip", folder.parent, "bundle")
    assert load_bundle(tmp_path / "packed.zip").tasks == (TASK,)


def zipped(path, **files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "/").replace("_json", ".json"), content)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_bytes(b"no zip"), "neither a folder nor a .zip"),
        (lambda path: zipped(path, readme="x"), "no bundle.json"),
        (lambda path: zipped(path, a__bundle_json="{}", b__bundle_json="{}"), "several bundles"),
        (lambda path: zipped(path, bundle_json="{"), r"bundle\.json in .*b\.zip can't be read"),
        (lambda path: zipped(path, bundle_json='{"format": 99}'), "newer faceline"),
    ],
)
def test_a_zip_that_is_no_bundle_is_refused_with_what_it_is(make, message, tmp_path):
    make(tmp_path / "b.zip")
    with pytest.raises(BundleError, match=message):
        load_bundle(tmp_path / "b.zip")


def test_a_changed_or_missing_file_of_a_zip_is_named(folder, tmp_path):
    (folder / "smile.safetensors").write_bytes(b"x")
    shutil.make_archive(str(tmp_path / "b"), "zip", folder)
    with pytest.raises(BundleError, match=r"smile\.safetensors in .*b\.zip is not the bundle's file"):
        load_bundle(tmp_path / "b.zip")
    with pytest.raises(BundleError, match="is not the bundle's file"):
        write_zip(open_bundle(folder), tmp_path / "c.zip")
    assert not list(tmp_path.glob("*c.zip*"))
    (folder / "smile.safetensors").unlink()
    shutil.make_archive(str(tmp_path / "d"), "zip", folder)
    with pytest.raises(BundleError, match=r"smile\.safetensors in .*d\.zip is missing"):
        load_bundle(tmp_path / "d.zip")


def test_a_name_in_bundle_json_leads_nowhere_else(folder, tmp_path):
    (tmp_path / "smile.safetensors").write_bytes((folder / "smile.safetensors").read_bytes())
    described = json.loads((folder / "bundle.json").read_text())
    described["models"]["smile"]["file"] = "../smile.safetensors"
    (folder / "bundle.json").write_text(json.dumps(described))
    with pytest.raises(BundleError, match="missing"):
        load_bundle(folder)


def test_to_look_at_a_bundle_imports_no_torch():
    code = "import sys; import classify.inference.bundle_files, classify.inference.bundle_check; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=HOUSE)
    assert not set(done.stdout.split()) & {"torch", "numpy", "cv2"}

"""The model: what it encodes, that it saves and loads, and what it refuses to load."""

from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import nn

from metricforge.atomic_files import read_folder, write_folder
from metricforge.contracts import AS_IT_LIES, Reading
from metricforge.data.model_inputs import batches, fit
from metricforge.errors import ArtefactError, DataError, PluginError, UsageError
from metricforge.loading import build, load
from metricforge.model import EmbeddingModel, without_head
from metricforge.model_card import FORMAT, Card
from metricforge.registry import Registry
from metricforge.runtime.evaluation_mode import evaluating

GREY, COLOUR = (1, 16, 16), (3, 16, 16)
LUMA = (0.299, 0.587, 0.114)


class OwnNet(nn.Module):
    """A backbone that is no plugin."""

    out_features = 6

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, 6, 3, stride=2)

    def forward(self, images):
        return self.layer(images).relu().mean((2, 3))


def make(shape=GREY, backbone="conv4:channels=8", head="linear", dim=5, seed=0, own=None):
    torch.manual_seed(seed)
    channels = shape[0]
    card = Card(
        backbone, head, dim, shape, (0.4,) * channels, (0.3,) * channels,
        trained_on="noise", seen_classes=("a", "b"), split="0123",
    )  # fmt: skip
    return build(Registry.installed(), card, own, None).eval()


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture(scope="module")
def model() -> EmbeddingModel:
    return make()


def close(first, second):
    return np.allclose(first, second, atol=1e-5)


def test_encode_gives_float32_of_unit_length(model):
    found = model.encode(noise(7, 1, 16, 16))
    assert found.dtype == np.float32
    assert found.shape == (7, 5)
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    assert len(np.unique(found.round(4), axis=0)) == 7


def test_a_head_may_leave_the_length_alone():
    found = make(head="linear:normalize=false").encode(noise(7, 1, 16, 16))
    assert not np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-2)
    flat = make(dim=2).encode(noise(7, 1, 16, 16))
    assert not np.allclose(np.linalg.norm(flat, axis=1), 1, atol=1e-2)


def test_encode_is_the_network_on_normalised_images(model):
    images = torch.from_numpy(noise(3, 1, 16, 16))
    with torch.no_grad():
        features = model.backbone((images / 255 - 0.4) / 0.3)
        expected = nn.functional.normalize(model.head(features))
    assert close(model.encode(images), expected.numpy())


def test_tensors_arrays_pil_images_and_files_agree(model, tmp_path: Path):
    pixels = noise(4, 16, 16)
    expected = model.encode(pixels[:, None])
    files = [tmp_path / f"{i}.png" for i in range(4)]
    for image, file in zip(pixels, files, strict=True):
        Image.fromarray(image).save(file)
    same = {
        "grey array": pixels,
        "tensor": torch.from_numpy(pixels)[:, None],
        "grey tensor": torch.from_numpy(pixels),
        "paths": files,
        "names": [str(file) for file in files],
        "tuple": tuple(files),
        "PIL": [Image.fromarray(image) for image in pixels],
    }
    for name, images in same.items():
        assert close(model.encode(images), expected), name


def test_arrays_may_be_views_that_go_backwards_or_can_not_be_written(model):
    pixels = noise(4, 16, 16)
    expected = model.encode(pixels[::-1].copy())
    assert close(model.encode(pixels[::-1]), expected)
    frozen = pixels[::-1].copy()
    frozen.flags.writeable = False
    assert close(model.encode(frozen), expected)


def test_colour_comes_with_channels_first_or_last():
    colour = make(COLOUR)
    pixels = noise(4, 16, 16, 3)
    expected = colour.encode(pixels.transpose(0, 3, 1, 2).copy())
    assert close(colour.encode(pixels), expected)
    assert close(colour.encode(torch.from_numpy(pixels)), expected)
    assert close(colour.encode([Image.fromarray(image) for image in pixels]), expected)


def test_colour_becomes_luma_for_a_grey_model(model):
    pixels = noise(4, 16, 16, 3)
    grey = (pixels * np.array(LUMA)).sum(3).round().astype(np.uint8)
    # A grey value may round the other way: a 255th of a pixel.
    assert np.allclose(model.encode(pixels), model.encode(grey), atol=5e-3)
    images = [Image.fromarray(image) for image in pixels]
    assert np.allclose(model.encode(images), model.encode(grey), atol=5e-3)


def test_grey_is_shown_on_all_channels_of_a_colour_model():
    colour, pixels = make(COLOUR), noise(5, 16, 16)
    expected = colour.encode(np.stack([pixels] * 3, axis=1))
    assert close(colour.encode(pixels), expected)
    assert close(colour.encode([Image.fromarray(image) for image in pixels]), expected)


def ramps(height, width):
    """Three images that grow smoothly, down, across and both, whatever their size."""
    rows, columns = ((np.arange(side) + 0.5) / side for side in (height, width))
    down, across = np.meshgrid(rows, columns, indexing="ij")
    return 255 * np.stack([down, across, down * across])


@pytest.mark.parametrize("size", [(32, 32), (8, 8), (20, 11), (16, 15)])
def test_other_sizes_are_resized(model, size):
    images = ramps(*size).round().astype(np.uint8)
    ((_, batch),) = batches(images, 3, GREY, AS_IT_LIES)
    assert batch.dtype == torch.uint8
    assert tuple(batch.shape) == (3, *GREY)
    # At the border of a smaller image there is nothing to go on with.
    assert np.abs(batch[:, 0].numpy() - ramps(16, 16)).max() < 20
    assert np.abs(batch[:, 0].numpy() - ramps(16, 16))[:, 2:-2, 2:-2].max() < 3
    assert model.encode(images).shape == (3, 5)


def test_images_of_the_right_shape_are_left_as_they_are():
    pixels = torch.from_numpy(noise(3, 1, 16, 16))
    assert fit(pixels, GREY).equal(pixels)


def test_pil_images_and_their_files_give_one_embedding(model, tmp_path: Path):
    """Whatever their mode: transparency lies on white, 16 bits are scaled to 8."""
    alpha = np.full((16, 16, 4), 128, np.uint8)
    alpha[..., 3] = noise(16, 16)
    wide = noise(16, 16).astype(np.uint16) * 257
    images = {
        "rgba": Image.fromarray(alpha),
        "sixteen": Image.fromarray(wide),
        "palette": Image.fromarray(noise(16, 16)).convert("P"),
        "bit": Image.fromarray(noise(16, 16)).convert("1"),
    }
    differing = []
    for name, image in images.items():
        image.save(tmp_path / f"{name}.png")
        from_file = model.encode([tmp_path / f"{name}.png"])
        differing += [] if close(model.encode([image]), from_file) else [name]
    assert differing == []


def test_a_rotated_photo_gives_one_embedding_opened_or_not(model, tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6
    rows = np.repeat(np.arange(0, 256, 16, dtype=np.uint8)[:, None], 16, axis=1)
    Image.fromarray(rows).save(tmp_path / "photo.png", exif=exif)
    with Image.open(tmp_path / "photo.png") as photo:
        assert close(model.encode([photo]), model.encode([tmp_path / "photo.png"]))


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((2, 1, 16, 16), np.float32),
        torch.zeros(2, 1, 16, 16),
        np.zeros((2, 1, 16, 16), np.uint16),
        np.zeros((2, 1, 16, 16), bool),
        np.zeros((16, 16), np.uint8),
        np.zeros((2, 5, 16, 16), np.uint8),
        np.zeros((2, 16, 16, 4), np.uint8),
        np.zeros((1, 2, 1, 16, 16), np.uint8),
        np.array(["a.png", "b.png"], dtype=object),
        "image.png",
        Path("image.png"),
        [np.zeros(16, np.uint8)],
        [np.zeros((16, 16), np.uint16)],
        [np.zeros((2, 1, 16, 16), np.uint8)],
        [torch.zeros(5, 16, 16, dtype=torch.uint8)],
        [3],
        {"image.png"},
        {"image.png": 0},
        3,
        None,
        b"image.png",
        Image.new("L", (16, 16)),
    ],
    ids=lambda images: (
        f"{type(images).__name__} {getattr(images, 'dtype', '')} "
        f"{tuple(getattr(images, 'shape', ()))}"
    ),
)
def test_what_can_not_be_encoded_is_a_data_error(model, images):
    with pytest.raises(DataError):
        model.encode(images)


def test_a_file_that_can_not_be_read_is_named(model, tmp_path: Path):
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(DataError, match=r"text\.png"):
        model.encode([tmp_path / "text.png"])
    with pytest.raises(DataError, match=r"nowhere\.png"):
        model.encode([tmp_path / "nowhere.png"])


def test_no_images_give_no_rows(model):
    assert model.encode([]).shape == (0, 5)
    assert model.encode(np.zeros((0, 1, 16, 16), np.uint8)).shape == (0, 5)


def test_neither_order_nor_batch_size_matters(model):
    images = noise(11, 1, 16, 16)
    expected = model.encode(images)
    order = np.random.default_rng(1).permutation(11)
    assert close(model.encode(images[order]), expected[order])
    for batch_size in (1, 4, 11, 500):
        assert close(model.encode(images, batch_size=batch_size), expected)


def test_encoding_leaves_a_model_as_it_was():
    model = make()
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first = model.encode(noise(5, 1, 16, 16))
    assert model.training
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())
    model.eval()
    assert np.array_equal(model.encode(noise(5, 1, 16, 16)), first)


@pytest.mark.fault(81)
def test_threads_that_encode_at_once_get_the_same_rows_and_leave_the_model_as_it_was():
    model, images = make(), noise(64, 1, 16, 16)
    expected = model.encode(images)
    model.train()
    model.backbone.eval()  # as --batch-norm frozen has it: some modules are, and some aren't
    modes = [module.training for module in model.modules()]
    assert len(set(modes)) == 2
    before = {name: value.clone() for name, value in model.state_dict().items()}
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            rows = list(pool.map(lambda _: model.encode(images, batch_size=8), range(32)))
    finally:
        sys.setswitchinterval(interval)
    assert all(close(found, expected) for found in rows)
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes


@pytest.mark.fault(81)
def test_the_modes_of_all_modules_are_back_after_the_last_use_and_after_an_error():
    model = make().train()
    model.head.eval()
    modes = [module.training for module in model.modules()]
    with evaluating(model), evaluating(model):
        assert not any(module.training for module in model.modules())
    assert [module.training for module in model.modules()] == modes
    first = evaluating(model)
    first.__enter__()
    with pytest.raises(ZeroDivisionError), evaluating(model):
        1 / 0  # noqa: B018
    assert not any(module.training for module in model.modules()), "the first still uses it"
    first.__exit__(None, None, None)
    assert [module.training for module in model.modules()] == modes


def test_a_saved_model_gives_equal_embeddings(model, tmp_path: Path):
    model.save(tmp_path / "model")
    images = noise(9, 1, 16, 16)
    for folder in (tmp_path / "model", tmp_path, str(tmp_path)):
        loaded = load(folder, device="cpu")
        assert loaded.card == model.card
        assert not loaded.training
        assert close(loaded.encode(images), model.encode(images))
    assert not close(make(seed=1).encode(images), model.encode(images))


def test_a_saved_model_holds_no_pickle(model, tmp_path: Path):
    model.save(tmp_path / "model")
    files = read_folder(tmp_path / "model")
    assert set(files) == {"weights.safetensors", "model.json", "README.md"}
    assert set(load_tensors(files["weights.safetensors"])) == set(model.state_dict())
    assert json.loads(files["model.json"])["backbone"] == "conv4:channels=8"
    assert "conv4" in files["README.md"].decode()


def test_a_backbone_of_your_own_is_asked_for_and_used(tmp_path: Path):
    own = make(backbone="object tests:OwnNet", own=OwnNet())
    own.save(tmp_path)
    with pytest.raises(
        UsageError, match=r"a backbone of your own \(tests:OwnNet\).*backbone=\.\.\."
    ):
        load(tmp_path, device="cpu")
    images = noise(5, 1, 16, 16)
    loaded = load(tmp_path, backbone=OwnNet(), device="cpu")
    assert close(loaded.encode(images), own.encode(images))
    with pytest.raises(ArtefactError, match="another network"):
        load(tmp_path, backbone=_with_features(), device="cpu")


def _with_features() -> nn.Module:
    other = nn.Flatten()
    other.out_features = 6
    return other


def test_a_backbone_must_say_what_it_gives():
    with pytest.raises(PluginError, match="out_features"):
        make(backbone="object tests:Flatten", own=nn.Flatten())


@pytest.fixture
def folder(model, tmp_path: Path) -> Path:
    model.save(tmp_path / "saved")
    return tmp_path / "saved"


def refused(folder: Path, message: str) -> str:
    with pytest.raises(ArtefactError, match=message) as caught:
        load(folder, device="cpu")
    assert caught.value.exit_code == 5
    assert folder.name in str(caught.value)
    return str(caught.value)


def rewritten(folder: Path, name: str, content: bytes | None) -> None:
    """Change one file, with a manifest that fits; None takes it away."""
    files = read_folder(folder)
    files.pop(name)
    write_folder(folder, files if content is None else {**files, name: content})


class Canary:
    """Makes a folder when it is unpickled."""

    def __init__(self, track: Path) -> None:
        self.track = str(track)

    def __reduce__(self):
        return os.mkdir, (self.track,)


@pytest.mark.fault(46)
@pytest.mark.parametrize("fits", [True, False])
@pytest.mark.parametrize("name", ["weights.safetensors", "model.json"])
def test_a_pickle_is_refused_and_not_executed(folder: Path, tmp_path: Path, name, fits):
    content = pickle.dumps(Canary(tmp_path / "track"))
    if fits:
        rewritten(folder, name, content)
    else:
        (folder / name).write_bytes(content)
    refused(folder, "no safetensors|can't be read" if fits else "is damaged")
    assert not (tmp_path / "track").exists()


@pytest.mark.fault(47)
@pytest.mark.parametrize("fits", [True, False])
@pytest.mark.parametrize("keep", [0, 4, 200, -1])
def test_truncated_weights_are_refused(folder: Path, fits, keep):
    content = (folder / "weights.safetensors").read_bytes()[:keep]
    if fits:
        rewritten(folder, "weights.safetensors", content)
    else:
        (folder / "weights.safetensors").write_bytes(content)
    refused(folder, "no safetensors" if fits else "is damaged")


def test_missing_weights_are_refused(folder: Path):
    rewritten(folder, "weights.safetensors", None)
    refused(folder, "no safetensors")


@pytest.mark.fault(48)
def test_weights_of_another_architecture_are_refused_with_what_differs(folder: Path):
    other = make(backbone="conv4:channels=4")
    rewritten(folder, "weights.safetensors", save_tensors(other.state_dict()))
    message = refused(folder, "another network")
    assert re.search(r"size mismatch|shape", message)
    rewritten(folder, "weights.safetensors", save_tensors({"x": torch.zeros(1)}))
    assert "Missing key" in refused(folder, "another network")
    rewritten(folder, "model.json", None)
    refused(folder, "is not a saved model")


def test_a_newer_format_says_which_version_it_needs(folder: Path):
    fields = json.loads(read_folder(folder)["model.json"]) | {
        "format": FORMAT + 1,
        "novelty": 1,
    }
    rewritten(folder, "model.json", json.dumps(fields).encode())
    refused(folder, f"format {FORMAT + 1} and .* reads up to {FORMAT}: upgrade metricforge")


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"{}", b'{"format": "new"}', b'{"backbone": "conv4"}']
)
def test_a_card_that_can_not_be_read_is_refused(folder: Path, content):
    rewritten(folder, "model.json", content)
    refused(folder, "is not a saved model")


@pytest.mark.parametrize(
    "reading", [1, [], {"margin": 0.7}, {"margin": False}, {"inverted": "no"}, {"turned": True}]
)
def test_a_way_of_reading_that_is_none_is_refused(folder: Path, reading):
    fields = json.loads(read_folder(folder)["model.json"]) | {"reading": reading}
    rewritten(folder, "model.json", json.dumps(fields).encode())
    refused(folder, "is not a saved model")


def test_a_model_of_an_older_format_reads_files_as_they_lie(folder: Path, tmp_path: Path):
    fields = json.loads(read_folder(folder)["model.json"]) | {"format": 2}
    assert fields.pop("reading") == {
        "margin": None, "inverted": False, "depth": 16, "fit": "squeeze",
    }  # fmt: skip
    rewritten(folder, "model.json", json.dumps(fields).encode())
    older = load(folder, device="cpu")
    assert older.card.reading == AS_IT_LIES
    older.save(tmp_path / "again")
    assert json.loads((tmp_path / "again" / "model.json").read_text())["format"] == FORMAT


def test_files_are_read_as_those_of_the_train_set_were(model, tmp_path: Path):
    pixels = noise(2, 16, 16)
    files = [tmp_path / "0.png", tmp_path / "1.png"]
    for file, image in zip(files, pixels, strict=True):
        Image.fromarray(image).save(file)
    reads = make()
    reads.card = replace(reads.card, reading=Reading(inverted=True))
    reads.save(tmp_path / "saved")
    assert "files: dark on light" in (tmp_path / "saved" / "README.md").read_text()
    loaded = load(tmp_path / "saved", device="cpu")
    inverted = model.encode(255 - pixels)
    for images in (files, [Image.open(file) for file in files]):
        assert close(loaded.encode(images), inverted)
        assert not close(model.encode(images), inverted)
    # An array is as the images of the dataset are.
    assert close(loaded.encode(255 - pixels), inverted)


def test_a_model_that_is_not_there_is_refused(tmp_path: Path):
    with pytest.raises(ArtefactError, match="nothing"):
        load(tmp_path / "nothing", device="cpu")
    (tmp_path / "file.pt").write_bytes(pickle.dumps({}))
    with pytest.raises(ArtefactError, match="was not opened"):
        load(tmp_path / "file.pt", device="cpu")


def test_a_model_of_a_plugin_that_is_not_installed_names_it(folder: Path):
    fields = json.loads(read_folder(folder)["model.json"]) | {"backbone": "convnet-of-others"}
    rewritten(folder, "model.json", json.dumps(fields).encode())
    with pytest.raises(UsageError, match="unknown backbone 'convnet-of-others'"):
        load(folder, device="cpu")


@pytest.mark.fault(73)
@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64])
def test_weights_of_another_kind_are_refused_and_not_cast(
    model: EmbeddingModel, tmp_path: Path, dtype: torch.dtype
) -> None:
    model.save(tmp_path)
    weights = load_tensors((tmp_path / "weights.safetensors").read_bytes())
    name = next(name for name in weights if name.endswith("weight"))
    weights[name] = weights[name].to(dtype)
    replaced = {**read_folder(tmp_path), "weights.safetensors": save_tensors(weights)}
    write_folder(tmp_path, replaced)
    with pytest.raises(ArtefactError, match=f"'{name}' is {dtype}, not torch.float32"):
        load(tmp_path)


@pytest.mark.fault(85)
@pytest.mark.exhaustive
def test_a_process_that_was_forked_after_the_model_has_worked_embeds(
    model: EmbeddingModel, tmp_path: Path
) -> None:
    model.save(tmp_path / "model")
    program = """
import multiprocessing, sys
import numpy as np
import metricforge
model = metricforge.load(sys.argv[1])
channels, height, width = model.card.shape
images = np.random.default_rng(0).integers(
    0, 256, (256, channels, 2 * height, 3 * width), np.uint8
)
def rows(_):
    return np.concatenate([model.encode(images), model.encode(list(images))])
if __name__ == "__main__":
    here = rows(0)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        for there in pool.map_async(rows, range(2)).get(timeout=60):
            assert np.allclose(there, here, atol=1e-5)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "model")],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_two_networks_of_one_backbone_leave_its_mode_as_it_was(model: EmbeddingModel) -> None:
    other = without_head(model)
    model.train()
    first, second = evaluating(model), evaluating(other)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not any(module.training for module in model.backbone.modules())
    assert model.head.training
    second.__exit__(None, None, None)
    assert all(module.training for module in model.modules())
    model.eval()


def test_the_page_on_stability_has_the_format_of_models() -> None:
    page = (Path(__file__).parents[1] / "docs" / "stability.md").read_text()
    assert f"| `model/model.json` | {FORMAT} |" in page


@pytest.mark.parametrize(
    ("shape", "size", "expected"),
    [
        ((1, 28, 28), None, 512), ((3, 64, 64), None, 512), ((3, 64, 64), (224, 224), 41),
        ((3, 256, 128), None, 64), ((3, 4096, 4096), None, 1),
    ],
)  # fmt: skip
def test_fewer_large_images_are_embedded_at_a_time(shape, size, expected):
    """By the size that the network gets, which need not be that of the images."""
    model = make()
    card = replace(model.card, shape=shape, input_size=size, mean=(0.5,) * shape[0],
                   std=(0.5,) * shape[0])  # fmt: skip
    assert EmbeddingModel(model.backbone, model.head, card).batch == expected

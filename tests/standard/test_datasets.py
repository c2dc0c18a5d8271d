from __future__ import annotations

import io
import shutil
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from zipfile import ZIP_BZIP2, ZIP_STORED, ZipFile, ZipInfo

import numpy as np
import pytest
import torch
from metricforge_standard.datasets import omniglot as omniglot_module
from metricforge_standard.datasets.csv_file import csv
from metricforge_standard.datasets.digits import digits
from metricforge_standard.datasets.fashion_mnist import fashion_mnist
from metricforge_standard.datasets.folder import folder
from metricforge_standard.datasets.mnist import mnist
from metricforge_standard.datasets.omniglot import omniglot
from PIL import Image
from sklearn.datasets import load_digits

from metricforge.contracts import TEST, TRAIN, Dataset
from metricforge.data import filetypes
from metricforge.data.images import open_images
from metricforge.data.model_inputs import batches
from metricforge.errors import DataError, UsageError
from metricforge.spec import Spec, bind


def check_contract(dataset: Dataset) -> None:
    """What the core relies on in every dataset of tensors."""
    assert isinstance(dataset.images, torch.Tensor)
    assert dataset.images.dtype == torch.uint8
    assert dataset.images.shape == (len(dataset), *dataset.shape)
    assert dataset.labels.dtype == torch.int64
    assert dataset.labels.unique().tolist() == list(range(len(dataset.classes)))
    assert len(set(dataset.classes)) == len(dataset.classes)


# ---------------------------------------------------------------- digits


def test_digits_at_their_own_size_are_scaled_to_bytes() -> None:
    dataset, source = digits(size=8), load_digits()
    check_contract(dataset)
    assert len(dataset) == 1797
    assert dataset.classes == tuple("0123456789")
    assert dataset.labels.tolist() == source.target.tolist()
    assert isinstance(dataset.images, torch.Tensor)
    # 8 of 16 is 127.5, which is rounded to the even 128.
    expected = torch.tensor([round(value * 255 / 16) for value in range(17)])
    original = torch.from_numpy(source.images).long()
    assert torch.equal(dataset.images[:, 0].long(), expected[original])


def test_digits_are_enlarged_by_interpolation() -> None:
    dataset, small = digits(), load_digits().images[0] * 255 / 16
    check_contract(dataset)
    assert dataset.shape == (1, 16, 16)
    assert dataset.official is None
    assert isinstance(dataset.images, torch.Tensor)
    # A pixel of twice the size lies a quarter of the way to its neighbours.
    near = (9 * small[2, 3] + 3 * small[1, 3] + 3 * small[2, 2] + small[1, 2]) / 16
    assert dataset.images[0, 0, 4, 6].item() == round(near)


@pytest.mark.parametrize("make", [digits, lambda size: mnist(Path("nowhere"), size=size)])
def test_a_size_of_no_pixels_is_a_usage_error(make: Callable[..., Dataset]) -> None:
    with pytest.raises(UsageError, match=r"'size' of dataset '.*' is 1 to 4,096 pixels, not 0"):
        make(size=0)


# ---------------------------------------------------------------- MNIST and its likeness


def test_mnist_has_its_known_images(mnist_root: Path) -> None:
    dataset = mnist(mnist_root)
    check_contract(dataset)
    assert dataset.shape == (1, 28, 28)
    assert dataset.official is not None
    assert dataset.official.tolist() == [TRAIN] * 60_000 + [TEST] * 10_000
    train = dataset.labels[dataset.official == TRAIN].bincount().tolist()
    test = dataset.labels[dataset.official == TEST].bincount().tolist()
    assert train == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert test == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert isinstance(dataset.images, torch.Tensor)
    # The mean brightness that everyone normalises by.
    mean = dataset.images[:60_000].double().mean().item() / 255
    assert mean == pytest.approx(0.1307, abs=5e-5)


def in_idx_format(values: torch.Tensor) -> bytes:
    header = struct.pack(">HBB", 0, 8, values.dim())
    return header + struct.pack(f">{values.dim()}I", *values.shape) + values.numpy().tobytes()


def write_idx(raw: Path, train: int = 60_000) -> None:
    """Files like MNIST's: image i is of the value i % 251, its label i % 10."""
    raw.mkdir(parents=True)
    for part, count in (("train", train), ("t10k", 10_000)):
        index = torch.arange(count)
        images = (index % 251).to(torch.uint8).view(-1, 1, 1).expand(count, 28, 28).contiguous()
        (raw / f"{part}-images-idx3-ubyte").write_bytes(in_idx_format(images))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(in_idx_format((index % 10).byte()))


def test_fashion_mnist_is_read_resized_and_named(tmp_path: Path) -> None:
    write_idx(tmp_path / "FashionMNIST" / "raw")
    dataset = fashion_mnist(tmp_path, size=3)
    check_contract(dataset)
    assert dataset.shape == (1, 3, 3)
    assert dataset.classes[0] == "T-shirt/top"
    assert dataset.classes[9] == "Ankle boot"
    assert isinstance(dataset.images, torch.Tensor)
    assert dataset.images[60_007].unique().tolist() == [7]
    assert dataset.labels[60_007] == 7


def test_damaged_mnist_is_a_data_error(tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    write_idx(raw, train=59_999)
    with pytest.raises(DataError, match=r"'train-\*' in '.*raw' do not hold 60000 images"):
        mnist(tmp_path)
    shutil.rmtree(raw)
    write_idx(raw)
    images = raw / "t10k-images-idx3-ubyte"
    images.write_bytes(images.read_bytes()[:5000])
    with pytest.raises(DataError, match=r"'t10k-\*' .* delete them"):
        mnist(tmp_path)


# ---------------------------------------------------------------- downloads


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError("there is no network")

    monkeypatch.setattr("urllib.request.urlopen", refuse)


class Response(io.BytesIO):
    """An answer of a server that sends rubbish."""

    url = None
    length = 7


@pytest.fixture
def rubbish(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("urllib.request.urlopen", lambda *args, **kwargs: Response(b"rubbish"))


@pytest.mark.fault(38)
@pytest.mark.parametrize("make", [mnist, fashion_mnist, omniglot])
@pytest.mark.parametrize("network", ["offline", "rubbish"])
def test_a_failed_download_leaves_nothing_and_says_what_to_do(
    make: Callable[[Path], Dataset], network: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue(network)
    reason = "there is no network" if network == "offline" else "orrupted"
    with pytest.raises(DataError, match=rf"is not in '{tmp_path}.*{reason}.*--data-root") as raised:
        make(tmp_path / "new")
    assert "\n" not in str(raised.value)
    assert [path.name for path in tmp_path.rglob("*")] == ["new"]


def test_a_download_of_mnist_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    served = []

    def serve(self: object) -> None:
        served.append(self)
        write_idx(Path(self.raw_folder))  # type: ignore[attr-defined]

    monkeypatch.setattr("torchvision.datasets.MNIST.download", serve)
    assert len(mnist(tmp_path)) == len(mnist(tmp_path)) == 70_000
    assert len(served) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["MNIST"]


# ---------------------------------------------------------------- Omniglot


def test_omniglot_has_its_known_classes(omniglot_root: Path) -> None:
    dataset = omniglot(omniglot_root)
    check_contract(dataset)
    assert len(dataset) == 32_460
    assert len(dataset.classes) == 1_623
    assert dataset.labels.bincount().unique().tolist() == [20]
    assert len(dataset.group_names) == 50
    assert dataset.shape == (1, 28, 28)
    assert dataset.groups is not None
    assert dataset.official is not None
    assert dataset.official.bincount().tolist() == [19_280, 0, 13_180]
    for index in (0, 5_000, 32_459):
        alphabet = dataset.group_names[int(dataset.groups[index])]
        assert dataset.classes[int(dataset.labels[index])].startswith(f"{alphabet}/character")
    assert dataset.classes[0] == "Alphabet_of_the_Magi/character01"
    assert isinstance(dataset.images, torch.Tensor)
    # Strokes are light, and cover little of the image.
    assert 10 < dataset.images.float().mean() < 40


def test_omniglot_has_a_small_background(omniglot_root: Path) -> None:
    dataset = omniglot(omniglot_root, background="small1", size=20)
    check_contract(dataset)
    assert dataset.shape == (1, 20, 20)
    assert dataset.official is not None
    assert dataset.official.bincount().tolist() == [2_720, 0, 13_180]
    assert len(dataset.group_names) == 25


def drawing(value: int = 0) -> bytes:
    """A black square on the left of 105 x 105 white pixels, 1-bit as in the archives."""
    image = Image.new("L", (105, 105), 255)
    image.paste(value, (0, 0, 50, 105))
    buffer = io.BytesIO()
    image.convert("1").save(buffer, "PNG")
    return buffer.getvalue()


BACKGROUND = ["Greek/character01/a.png", "Greek/character02/a.png", "Latin/character01/a.png"]
EVALUATION = ["Keble/character01/b.png", "Keble/character01/a.png"]


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An Omniglot of five drawings."""
    counts = {"images_background": len(BACKGROUND), "images_evaluation": len(EVALUATION)}
    monkeypatch.setattr(omniglot_module, "_COUNTS", counts)
    write_archive(tmp_path, "images_background", BACKGROUND)
    write_archive(tmp_path, "images_evaluation", EVALUATION)
    return tmp_path


def write_archive(
    root: Path,
    part: str,
    names: Iterable[str],
    png: bytes | None = None,
    method: int = ZIP_STORED,
) -> Path:
    path = root / "omniglot-py" / f"{part}.zip"
    path.parent.mkdir(exist_ok=True)
    with ZipFile(path, "w", method) as archive:
        archive.writestr(ZipInfo(f"{part}/"), b"")
        archive.writestr("__MACOSX/._x", b"left by a file manager")
        for name in names:
            archive.writestr(f"{part}/{name}", png or drawing())
    return path


def test_omniglot_is_read_from_its_archives_inverted_and_sorted(tiny: Path) -> None:
    dataset = omniglot(tiny)
    check_contract(dataset)
    assert dataset.classes[:2] == ("Greek/character01", "Greek/character02")
    assert dataset.group_names == ("Greek", "Latin", "Keble")
    assert dataset.labels.tolist() == [0, 1, 2, 3, 3]
    assert dataset.groups is not None
    assert dataset.groups.tolist() == [0, 0, 1, 2, 2]
    assert isinstance(dataset.images, torch.Tensor)
    assert dataset.images[0, 0, 14, 2] == 255
    assert dataset.images[0, 0, 14, 25] == 0


@pytest.mark.parametrize("margin", [None, 0.1])
def test_a_model_of_omniglot_reads_its_drawings_as_omniglot_does(
    tiny: Path, margin: float | None
) -> None:
    dataset = omniglot(tiny, size=20, margin=margin)
    with ZipFile(tiny / "omniglot-py" / "images_evaluation.zip") as archive:
        path = Path(archive.extract("images_evaluation/Keble/character01/a.png", tiny))
    assert isinstance(dataset.images, torch.Tensor)
    for one in (path, Image.open(path)):
        ((_, found),) = batches([one], 1, dataset.shape, dataset.reading)
        assert torch.equal(found, dataset.images[3:4])


def test_omniglot_gets_composed_classes_of_its_alphabets_to_train_on(tiny: Path) -> None:
    dataset, plain = omniglot(tiny, composed=1), omniglot(tiny)
    check_contract(dataset)
    # Greek has two characters, and so two further ones; Latin's one has none to be joined with.
    assert dataset.classes[4:] in (
        ("Greek/character01+character02 (0)", "Greek/character02+character01 (1)"),
        ("Greek/character02+character01 (0)", "Greek/character01+character02 (1)"),
        ("Greek/character01+character02 (0)", "Greek/character01+character02 (1)"),
        ("Greek/character02+character01 (0)", "Greek/character02+character01 (1)"),
    )
    assert dataset.labels[5:].tolist() == [4, 5]
    assert dataset.groups is not None
    assert dataset.official is not None
    assert dataset.groups[5:].tolist() == [0, 0]
    assert dataset.official[5:].tolist() == [TRAIN, TRAIN]
    assert {made: set(of) for made, of in dataset.made_of.items()} == {4: {0, 1}, 5: {0, 1}}
    assert isinstance(dataset.images, torch.Tensor)
    assert torch.equal(dataset.images[:5], plain.images)
    # Both drawings are alike here, and so is what is made of them.
    assert torch.equal(dataset.images[5], plain.images[0])
    for wrong in (-1.0, 21.0, float("nan")):
        with pytest.raises(UsageError, match="'composed' of dataset 'omniglot' is from 0 to 20"):
            omniglot(tiny, composed=wrong)


def test_omniglots_characters_fill_their_images_but_for_a_margin(tiny: Path) -> None:
    dataset = omniglot(tiny, margin=0.1, size=20)
    check_contract(dataset)
    assert isinstance(dataset.images, torch.Tensor)
    # 50 x 105 pixels at the left are in the middle now, and 16 of the 20 high.
    assert dataset.images.shape == (5, 1, 20, 20)
    light = (dataset.images[0, 0] > 127).nonzero()
    assert (light.min(0)[0] + light.max(0)[0]).tolist() == [19, 19]
    assert (light.max(0)[0] - light.min(0)[0] + 1)[0] == 16
    for wrong in (-0.1, 0.5, float("nan")):
        with pytest.raises(UsageError, match=r"'omniglot': margin is from 0 to 0\.4"):
            omniglot(tiny, margin=wrong)


def test_omniglot_is_read_from_its_folders(tiny: Path) -> None:
    zipped = omniglot(tiny)
    for archive in (tiny / "omniglot-py").glob("*.zip"):
        with ZipFile(archive) as opened:
            opened.extractall(archive.parent)
        archive.unlink()
    unpacked = omniglot(tiny)
    assert unpacked.classes == zipped.classes
    assert torch.equal(unpacked.labels, zipped.labels)
    assert isinstance(unpacked.images, torch.Tensor)
    assert torch.equal(unpacked.images, zipped.images)


@pytest.mark.parametrize("stray", ["../../evil/character01/a.png", "Greek/a.png", "x/y/a.exe"])
def test_a_strange_member_of_an_archive_is_refused(tiny: Path, stray: str) -> None:
    before = sorted(tiny.rglob("*"))
    write_archive(tiny, "images_background", [*BACKGROUND[:2], stray])
    with pytest.raises(DataError, match=r"is no drawing of Omniglot's; delete it"):
        omniglot(tiny)
    assert sorted(tiny.rglob("*")) == before


def test_an_archive_with_too_few_too_large_or_damaged_members_is_refused(tiny: Path) -> None:
    write_archive(tiny, "images_background", BACKGROUND[:2])
    with pytest.raises(DataError, match="holds 2 drawings, not 3"):
        omniglot(tiny)
    write_archive(tiny, "images_background", BACKGROUND, bytes(70_000))
    with pytest.raises(DataError, match="larger than any drawing"):
        omniglot(tiny)
    write_archive(tiny, "images_background", BACKGROUND, drawing()[:-30])
    with pytest.raises(DataError, match=r"images_background/Greek/character01/a\.png' is damaged"):
        omniglot(tiny)
    # Of such a member zipfile unpacks whatever there is, and not what the directory says.
    write_archive(tiny, "images_background", BACKGROUND, method=ZIP_BZIP2)
    with pytest.raises(DataError, match=r"is packed by method 12, and not by deflate"):
        omniglot(tiny)
    path = write_archive(tiny, "images_background", BACKGROUND)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"images_background\.zip' can't be read"):
        omniglot(tiny)


# ---------------------------------------------------------------- a folder of images


def tree(root: Path, *files: str) -> Path:
    for name in files:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() == ".png":
            Image.new("RGB", (4, 4), "red").save(path)
        else:
            path.write_bytes(b"by-file")
    return root


def test_a_folder_of_one_level(tmp_path: Path) -> None:
    root = tree(tmp_path / "pets", "dog/2.png", "dog/1.PNG", "a cat/ü 1.png", "a cat/2.png")
    dataset = folder(path=root)
    assert dataset.name == "pets"
    assert dataset.classes == ("a cat", "dog")
    assert dataset.labels.tolist() == [0, 0, 1, 1]
    assert [path.name for path in dataset.images] == ["2.png", "ü 1.png", "1.PNG", "2.png"]  # type: ignore[union-attr]
    assert dataset.shape == (3, 64, 64)
    assert dataset.groups is None
    assert dataset.official is None
    assert dataset.notes == ("images (PNG RGB; 4 x 4 pixels) become RGB, 64 x 64.",)
    assert folder(path=root, color=False, size=8).shape == (1, 8, 8)


def test_a_photographers_by_files_are_passed_over_and_counted(tmp_path: Path) -> None:
    beside = ("a/1.xmp", "a/2.XMP", "a/1.mov", "b/1.mp4", "b/1.AAE", "b/Picasa.ini", "b/1.png~",
              "b/1.md5", "b/1.sha1", "b/1.json", "b/list.csv", "b/.hidden.txt")  # fmt: skip
    raws = ("a/1.cr2", "a/1.NEF", "b/1.arw", "b/1.dng", "b/1.orf", "b/1.raf")
    root = tree(tmp_path, "a/1.png", "a/2.png", "b/1.png", "b/2.png", *beside, *raws)
    dataset = folder(path=root)
    assert len(dataset) == 4
    of_raws, others = dataset.notes[:2]
    assert of_raws.startswith("images of kinds that are not read: 6 (")
    assert others.startswith("skipped, as they are no images: 11 (.xmp 2, ")


@pytest.fixture
def without_heif(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As if pillow-heif were not installed."""
    monkeypatch.setattr(filetypes, "reads_heif", lambda: False)
    filetypes.formats.cache_clear()
    yield
    filetypes.formats.cache_clear()


@pytest.mark.fault(102)
@pytest.mark.usefixtures("without_heif")
def test_heic_is_skipped_and_counted_in_a_folder(tmp_path: Path) -> None:
    """With what reads it."""
    root = tree(tmp_path / "photos", "a/1.png", "b/1.png")
    (root / "a" / "2.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    packed = shutil.make_archive(str(tmp_path / "packed"), "zip", root)
    for path in (root, Path(packed)):
        assert len(folder(path=path)) == 2
    note = folder(path=root).notes[1]
    assert note == (
        "images that pillow-heif would read: 1 (.heic 1); pip install 'metricforge[photos]'."
    )


def test_heic_is_read_like_any_image(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif", reason="requires metricforge[photos]")
    root = tree(tmp_path / "photos", "a/1.png", "b/1.png")
    colours = [[200, 40, 40], [40, 40, 200]]
    pixels = np.repeat(np.array(colours, np.uint8), 32, axis=0)[:, None].repeat(48, axis=1)
    heif.from_bytes("RGB", (48, 64), pixels.tobytes()).save(root / "a" / "phone.HEIC")
    dataset = folder(path=root, size="64x48")
    assert len(dataset) == 3
    names = [str(image) for image in dataset.images]
    index = next(index for index, name in enumerate(names) if name.endswith("phone.HEIC"))
    shown = open_images(dataset).take(torch.tensor([index]))[0].float()
    assert shown[:, :28].mean((1, 2)).tolist() == pytest.approx([200, 40, 40], abs=6)
    assert shown[:, 36:].mean((1, 2)).tolist() == pytest.approx([40, 40, 200], abs=6)
    (root / "a" / "phone.HEIC").write_bytes((root / "a" / "phone.HEIC").read_bytes()[:300])
    with pytest.raises(DataError, match=r"phone\.HEIC"):
        open_images(folder(path=root))


@pytest.mark.parametrize("source", ["folder", "csv"])
def test_a_size_may_be_height_by_width(tmp_path: Path, source: str) -> None:
    root = tree(tmp_path / "photos", "a/1.png", "b/1.png")
    (tmp_path / "x.csv").write_text("path,label\nphotos/a/1.png,a\nphotos/b/1.png,b\n")

    def made(size: Any) -> Dataset:
        return folder(path=root, size=size) if source == "folder" else csv(
            path=tmp_path / "x.csv", size=size
        )  # fmt: skip

    assert made("24x12").shape == (3, 24, 12)
    assert made(24).shape == (3, 24, 24)
    for wrong in ("24x", "x12", "24x12x3", "big", "0x12", "24x5000", "-4x4"):
        with pytest.raises(UsageError, match="option 'size' of dataset"):
            made(wrong)


def test_how_proportions_change_is_told_and_hashed(tmp_path: Path) -> None:
    root = tree(tmp_path / "photos", "a/1.png", "b/1.png")
    Image.new("RGB", (30, 20)).save(root / "a" / "wide.png")
    notes = {}
    for fit in ("squeeze", "crop", "pad"):
        dataset = folder(path=root, size=16, fit=fit)  # type: ignore[arg-type]
        notes[fit] = next(note for note in dataset.notes if "become RGB" in note)
        assert ("fit" in dataset.reading.hashed()) == (fit != "squeeze")
    assert notes["squeeze"].endswith("16 x 16, whatever their proportions.")
    assert notes["crop"].endswith("16 x 16, cropped to their middle.")
    assert notes["pad"].endswith("16 x 16, padded with black.")


@pytest.mark.fault(102)
def test_files_that_are_no_images_are_skipped_and_counted_with_broken_skip(tmp_path: Path) -> None:
    root = tree(tmp_path / "photos", "a/1.png", "b/1.png", "b/2.png", "a/x.exe", "c.bin")
    packed = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", root))
    for path, told in ((root, "2 files are neither"), (packed, "2 files in .* are no images")):
        with pytest.raises(DataError, match=f"{told}.*broken=skip"):
            folder(path=path)
        dataset = folder(path=path, broken="skip")
        assert (dataset.classes, len(dataset)) == (("a", "b"), 3)
        (note,) = [note for note in dataset.notes if "no images, skipped" in note]
        assert note.startswith("files that are no images, skipped: 2 (")
        assert "a/x.exe" in note
        assert "c.bin" in note


@pytest.mark.fault(102)
def test_excluded_files_and_folders_are_no_images(tmp_path: Path) -> None:
    root = tree(
        tmp_path / "photos", "a/1.png", "a/1_mask.png", "a/raw/2.png", "b/1.png", "b/1_mask.png",
        "b/raw/9.png", "raw/c/1.png", "b/x.exe",
    )  # fmt: skip
    packed = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", root))
    index = tmp_path / "index"
    for options in ({"path": root}, {"path": packed}, *[{"path": root, "index": index}] * 2):
        dataset = folder(**options, exclude="*_mask.png+raw+*.exe")
        assert (dataset.classes, len(dataset)) == (("a", "b"), 2)
        assert any(note.startswith("excluded files and folders: ") for note in dataset.notes)
        # With a slash it is a path below the root.
        dataset = folder(**options, exclude="a/raw+raw/*+b/x.exe")
        assert dataset.classes == ("a", "b", "b/raw")


@pytest.mark.fault(102)
@pytest.mark.parametrize("exclude", ["*_msak.png", "*.png_", "raw/*", "*_mask.png+typo*", "A"])
def test_a_pattern_that_matches_nothing_is_refused(exclude: str, tmp_path: Path) -> None:
    root = tree(tmp_path / "photos", "a/1.png", "a/1_mask.png", "b/1.png")
    packed = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", root))
    typo = exclude.rpartition("+")[2].replace("*", r"\*")
    for path in (root, packed):
        with pytest.raises(UsageError, match=f"'exclude' of .*: nothing matches '{typo}'"):
            folder(path=path, exclude=exclude)


@pytest.mark.fault(94)
def test_an_archive_and_what_was_in_it_have_the_same_classes(tmp_path: Path) -> None:
    """With a folder around all of them, with another around that, and an empty one beside."""
    names = ("cats/big/1.png", "dogs/large/1.png", "dogs/small/1.png")
    root = tree(tmp_path / "there", *(f"my photos/images/{name}" for name in names))
    (root / "my photos" / "none").mkdir()
    # Of the name of a class, and beside the folder of all.
    (root / "dogs" / "small").mkdir(parents=True)
    packed = shutil.make_archive(str(tmp_path / "packed"), "zip", root)
    expected = ("cats/big", "dogs/large", "dogs/small")
    for path in (root, root / "my photos", root / "my photos" / "images", Path(packed)):
        assert folder(path=path).classes == expected
    assert [n for n in folder(path=root).notes if "without images" in n]


@pytest.mark.fault(94)
def test_images_in_a_part_that_have_no_class_are_no_class_of_their_own(tmp_path: Path) -> None:
    root = tree(tmp_path, "train/cat/1.png", "train/dog/1.png", "test/1.png", "test/2.png")
    with pytest.raises(DataError, match=r"images lie in 'test' itself and have no class.*parts=n"):
        folder(path=root)
    assert folder(path=root, parts="none").classes == ("test", "train/cat", "train/dog")


def test_folders_in_folders_are_classes_by_their_path_and_groups(tmp_path: Path) -> None:
    root = tree(tmp_path, "cats/big/1.png", "dogs/big/1.png", "dogs/small/1.png", "fish/1.png")
    dataset = folder(path=root)
    assert dataset.classes == ("cats/big", "dogs/big", "dogs/small", "fish")
    assert dataset.group_names == (".", "cats", "dogs")
    assert dataset.groups is not None
    assert dataset.groups.tolist() == [1, 2, 2, 0]


def test_hidden_and_known_files_are_passed_over(tmp_path: Path) -> None:
    root = tree(
        tmp_path, "a/1.png", "b/1.png", "a/Thumbs.db", "a/.DS_Store", "labels.csv", "README",
        ".cache/odd.exe", "a/1.XML", "__MACOSX/a/1.png",
    )  # fmt: skip
    dataset = folder(path=root)
    assert dataset.classes == ("a", "b")
    assert len(dataset) == 2


@pytest.mark.fault(28)
@pytest.mark.parametrize("stray", ["a/model.exe", "notes", "b/1.png.rar"])
def test_any_other_file_is_named(tmp_path: Path, stray: str) -> None:
    root = tree(tmp_path, "a/1.png", "b/1.png", stray)
    with pytest.raises(
        DataError, match=f"1 file is neither images, .*: '{root / stray}'; take them"
    ):
        folder(path=root)


def test_empty_folders_and_single_images_are_counted(tmp_path: Path) -> None:
    root = tree(tmp_path, "a/1.png", "a/2.png", "b/1.png", "c/deep/1.png", "only/read.txt")
    (root / "none").mkdir()
    dataset = folder(path=root)
    assert dataset.classes == ("a", "b", "c/deep")
    assert dataset.notes[:-1] == (
        "folders without images, which are no classes: 2 (none, only).",
        "classes of one image, which no other can match: 2 (b, c/deep).",
        "skipped, as they are no images: 1 (.txt 1).",
    )


def test_a_folder_without_two_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        folder(path=tmp_path / "gone")
    with pytest.raises(DataError, match="has no images; it needs a folder"):
        folder(path=tmp_path)
    tree(tmp_path, "a/1.png", "b/notes.txt")
    with pytest.raises(DataError, match="images of one class only, 'a'"):
        folder(path=tmp_path)
    with pytest.raises(DataError, match=r"is neither a folder nor a \.zip"):
        folder(path=tmp_path / "a" / "1.png")
    tree(tmp_path, "loose.png")
    with pytest.raises(DataError, match=r"loose\.png' has no class"):
        folder(path=tmp_path)


def test_links_may_not_lead_out_nowhere_or_around(tmp_path: Path) -> None:
    outside = tree(tmp_path / "outside", "x/1.png")
    root = tree(tmp_path / "root", "a/1.png", "b/1.png")
    link = root / "a" / "link"
    for target, message in (
        (outside / "x", "leads out of the folder"),
        (outside / "x" / "1.png", "leads out of the folder"),
        (root / "gone", "leads nowhere"),
        (link, "leads nowhere"),
        (root, "is reached again"),
        (root / "a", "is reached again"),
    ):
        link.symlink_to(target)
        with pytest.raises(DataError, match=message):
            folder(path=root)
        link.unlink()
    link.symlink_to(root / "b")
    (root / "b" / "back").symlink_to(root / "a")
    with pytest.raises(DataError, match="is reached again"):
        folder(path=root)


@pytest.mark.parametrize("indexed", [False, True])
def test_links_that_lead_out_are_followed_if_asked(tmp_path: Path, indexed: bool) -> None:
    """As the caches of hubs have them: names that link to files by their content."""
    store = tree(tmp_path / "store", "x/1.png", "y/2.png")
    for name, target in (("a/one.png", "x/1.png"), ("b/two.png", "y/2.png")):
        (tmp_path / "photos" / name).parent.mkdir(parents=True)
        (tmp_path / "photos" / name).symlink_to(store / target)
    (tmp_path / "photos" / "c").symlink_to(store / "y")
    index = tmp_path / "index" if indexed else None
    dataset = folder(path=tmp_path / "photos", index=index, links="follow")
    assert dataset.classes == ("a", "b", "c")
    assert len(open_images(dataset).take(torch.arange(3))) == 3
    with pytest.raises(DataError, match=r"leads out of the folder; .* links=follow"):
        folder(path=tmp_path / "photos")
    (tmp_path / "x.csv").write_text("path,label\na/one.png,a\nb/two.png,b\n")
    listed = csv(path=tmp_path / "x.csv", images=tmp_path / "photos", links="follow")
    assert len(open_images(listed).take(torch.arange(2))) == 2
    with pytest.raises(DataError, match=r"lies outside of .*links=follow"):
        csv(path=tmp_path / "x.csv", images=tmp_path / "photos")
    # A path that leads out is no link.
    (tmp_path / "x.csv").write_text("path,label\n../store/x/1.png,a\nb/two.png,b\n")
    with pytest.raises(DataError, match="lies outside"):
        csv(path=tmp_path / "x.csv", images=tmp_path / "photos", links="follow")
    # A loop is a loop, however it is followed.
    (tmp_path / "photos" / "d").symlink_to(tmp_path / "photos")
    with pytest.raises(DataError, match="is reached again through a link"):
        folder(path=tmp_path / "photos", links="follow")


def test_the_root_itself_may_be_a_link_and_links_may_stay_inside(tmp_path: Path) -> None:
    root = tree(tmp_path / "root", "a/1.png", "b/1.png")
    (root / "b" / "2.png").symlink_to(root / "a" / "1.png")
    (tmp_path / "link").symlink_to(root)
    assert folder(path=tmp_path / "link").labels.tolist() == [0, 1, 1]


def test_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    root = tree(tmp_path, "a/1.png", "b/1.png")
    (root / "c\udcff").mkdir()
    with pytest.raises(DataError, match=r"'c\\udcff' in '.*' is not named in UTF-8"):
        folder(path=root)


@pytest.mark.parametrize("factory", [digits, mnist, fashion_mnist, omniglot, folder, csv])
def test_every_option_can_be_written_in_a_spec(factory: Callable[..., Dataset]) -> None:
    spec = Spec.parse("x:path=p,size=9") if factory in (folder, csv) else Spec.parse("x:size=9")
    assert bind(factory, spec, "dataset 'x'")["size"] == 9
    assert (factory.__doc__ or "").partition("\n")[0].endswith(".")


@pytest.mark.fault(94)
def test_parts_with_another_folder_beside_them_are_not_mixed_in_silence(tmp_path: Path) -> None:
    names = [f"{part}/{name}/1.png" for part in ("train", "val", "test") for name in "ab"]
    root = tree(tmp_path, *names, "meta/sheet.png")
    with pytest.raises(DataError, match=r"parts of a split, but meta lie beside them.*exclude=me"):
        folder(path=root)
    assert folder(path=root, exclude="meta").official is not None
    assert "train/a" in folder(path=root, parts="none", label="path").classes

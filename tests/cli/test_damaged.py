"""Images whose data are not those that were written, though Pillow decodes them."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metricforge.data.decode import read_image
from metricforge.errors import DataError
from tests.cli.process import metricforge
from tests.cli.small_run import make_files, words

RNG = np.random.default_rng(0)
PIXELS = np.kron(RNG.integers(0, 256, (2, 8, 8, 3)), np.ones((1, 8, 8, 1))).astype(np.uint8)


def encoded(format: str, **options: object) -> bytes:
    content = io.BytesIO()
    Image.fromarray(PIXELS[0]).save(content, format, **options)
    return content.getvalue()


FILES = {
    "PNG": encoded("PNG"),
    "APNG": encoded("PNG", save_all=True, append_images=[Image.fromarray(PIXELS[1])]),
    "ICO": encoded("ICO", sizes=[(64, 64)]),
}


@pytest.mark.fault(99)
@pytest.mark.parametrize("content", FILES.values(), ids=FILES)
def test_any_flipped_bit_and_any_missing_end_is_found(content: bytes) -> None:
    read_image(content, (3, 16, 16))
    begin = content.index(b"\x89PNG") + 8
    for place in RNG.permutation(np.arange(begin, len(content)))[:200]:
        flipped = bytearray(content)
        flipped[place] ^= 1 << int(RNG.integers(8))
        with pytest.raises(DataError):
            read_image(bytes(flipped), (3, 16, 16))
    for end in (begin, len(content) // 2, len(content) - 12, len(content) - 1):
        with pytest.raises(DataError):
            read_image(content[:end], (3, 16, 16))
        with pytest.raises(DataError):
            read_image(content[:end] + bytes(len(content) - end), (3, 16, 16))


@pytest.mark.fault(99)
def test_a_half_destroyed_png_is_broken_for_check_and_train(tmp_path: Path) -> None:
    files = make_files(tmp_path / "files")
    victim = files / "3" / "18.png"
    content = FILES["PNG"]
    victim.write_bytes(content[: len(content) // 2] + bytes(len(content) // 2))
    done = metricforge("data", "check", files, "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 3
    assert [each["image"] for each in found["broken"]] == [str(victim)]
    done = metricforge("train", *words(files), "--out", tmp_path / "run")
    assert done.returncode == 3
    assert f"image '{victim}' is damaged (" in done.stderr
    done = metricforge("data", "check", f"folder:path={files},broken=skip", "--json")
    found = json.loads(done.stdout)
    assert (done.returncode, found["images"], found["broken"]) == (0, 59, [])
    assert any("can't be read, and were left out: 1" in note for note in found["notes"])

"""A folder to download into, which is removed if the download fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory

from metricforge.errors import DataError
from metricforge.fetching import refuse_fetching


@contextmanager
def scratch(root: Path, name: str, path: Path) -> Iterator[Path]:
    """A temporary folder in `root`, so that a finished file can be renamed to `path`.

    Any failure to download becomes a DataError that names the dataset and `path`.
    """
    refuse_fetching(
        f"dataset '{name}'", f"put it into '{path}', or name it with --dataset to download it"
    )
    try:
        root.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=root, prefix=".download-") as folder:
            yield Path(folder)
    # torchvision raises RuntimeError for a bad checksum and when every mirror failed.
    except (OSError, HTTPException, EOFError, RuntimeError) as error:
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise DataError(
            f"dataset '{name}' is not in '{path}' and can't be downloaded ({reason}); put it "
            "there, or name the folder that has it with --data-root."
        ) from error

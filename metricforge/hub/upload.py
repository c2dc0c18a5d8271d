"""A model's folder as a repository of a hub."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metricforge.atomic_files import MANIFEST, manifest, read_folder
from metricforge.errors import ArtefactError, ResourceError, UsageError
from metricforge.hub.address import PREFIX, is_address, repository_of
from metricforge.hub.client import LOG_IN, asking, client
from metricforge.hub.contents import FILES, IMAGES, README
from metricforge.hub.readme import amended
from metricforge.model_card import model_folder, read_card
from metricforge.regular_file import read_bytes

_LICENCE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,63}")


@dataclass(frozen=True)
class Upload:
    """What is to be uploaded, and where.

    Args:
        repository: OWNER/NAME.
        files: Contents by name, with the manifest.
        seen_classes: The number of class names in `model.json`.
        private: Whether a new repository is visible to its owner alone.
    """

    repository: str
    files: Mapping[str, bytes]
    seen_classes: int
    private: bool = False

    @property
    def url(self) -> str:
        """The page of the repository."""
        return f"{_hub().HfApi().endpoint}/{self.repository}"

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes by name."""
        return {name: len(content) for name, content in sorted(self.files.items())}


@dataclass(frozen=True)
class Pushed:
    """A model that is on a hub.

    Args:
        address: `hub:OWNER/NAME`, as `load` takes it.
        url: The page of the repository.
        commit: The commit, 40 hexadecimal digits.
        files: Bytes by name of file.
    """

    address: str
    url: str
    commit: str
    files: Mapping[str, int]


def push(
    subject: str | os.PathLike[str],
    repository: str,
    *,
    private: bool = False,
    message: str = "",
    licence: str = "",
    pictures: bool = False,
) -> Pushed:
    """Upload the model of a run to a hub, by huggingface_hub.

    Args:
        subject: A run, its folder, or the folder of a model.
        repository: OWNER/NAME; it is made if it does not exist.
        private: Whether it must be visible to its owner alone.
        message: Message of the commit.
        licence: The licence as the hub abbreviates it, e.g. "mit" or "cc-by-4.0".
        pictures: Whether to upload held-out images, `plots/answers.png` of the run, too.

    Returns:
        The address, with what was uploaded.

    Raises:
        UsageError: huggingface_hub is missing, or an argument is wrong.
        ResourceError: There is no token, or the network or its rights don't suffice.
        ArtefactError: The folder is damaged, or holds no model.
    """
    prepared = prepare(subject, repository, private=private, licence=licence, pictures=pictures)
    return send(prepared, message)


def prepare(
    subject: str | os.PathLike[str],
    repository: str,
    *,
    private: bool = False,
    licence: str = "",
    pictures: bool = False,
) -> Upload:
    """What :func:`push` uploads; nothing is sent, and no folder changes."""
    repository = repository_of(repository.removeprefix(PREFIX))
    _hub()
    if licence and not _LICENCE.fullmatch(licence):
        raise UsageError(
            f"'{licence}' is no licence of a hub: give its identifier, e.g. mit, apache-2.0, "
            "cc-by-4.0 or other."
        )
    if is_address(subject):
        raise UsageError(f"{subject} is on a hub already; give a run, or the folder of a model.")
    folder = model_folder(subject)
    files = read_folder(folder)
    card = read_card(folder, files)
    if foreign := sorted(files.keys() - FILES):
        raise UsageError(
            f"{folder} has {foreign[0]}, which is no file of a model: a gallery holds embeddings "
            "of images; give the run, or a folder of metricforge.load(...).save(FOLDER)."
        )
    if pictures:
        files[IMAGES] = _pictures(Path(subject))
    text = files.get(README, b"").decode(errors="replace")
    files[README] = amended(text, repository, licence, pictures).encode()
    return Upload(repository, {**files, MANIFEST: manifest(files)}, len(card.seen_classes), private)


def send(upload: Upload, message: str = "") -> Pushed:
    """Upload it, in one commit; raises as :func:`push`."""
    hub = _hub()
    if not hub.get_token():
        raise ResourceError(f"there is no token of the hub: {LOG_IN}.")
    api, name = hub.HfApi(), upload.repository
    with asking(f"push to {name}"):
        # None leaves it to the owner's default, and an existing one as it is.
        api.create_repo(name, private=upload.private or None, exist_ok=True)
        if upload.private and not api.model_info(name).private:
            raise UsageError(
                f"{name} exists, and is public: make it private in its settings, or leave "
                "--private out."
            )
        # Of an earlier push, which the new manifest does not name.
        gone = (set(api.list_repo_files(name)) & FILES) - upload.files.keys()
        commit = api.create_commit(
            name,
            operations=[
                *(hub.CommitOperationDelete(each) for each in sorted(gone)),
                *(hub.CommitOperationAdd(each, content) for each, content in upload.files.items()),
            ],
            commit_message=message or "Push by metricforge",
        )
    return Pushed(f"{PREFIX}{name}", upload.url, commit.oid, upload.sizes)


def _hub() -> Any:
    return client("push")


def _pictures(run: Path) -> bytes:
    """The run's plot of held-out images beside their nearest."""
    path = run / "plots" / IMAGES
    try:
        return read_bytes(path)
    except OSError as error:
        raise ArtefactError(
            f"there are no pictures to push, {path}: a run that opened its test classes of images "
            "has them."
        ) from error

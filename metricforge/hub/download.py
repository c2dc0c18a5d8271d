"""The model at an address on a hub, in the cache of huggingface_hub."""

from __future__ import annotations

from pathlib import Path

from metricforge.atomic_files import read_folder
from metricforge.errors import ArtefactError
from metricforge.fetching import refuse_fetching
from metricforge.hub.address import Address
from metricforge.hub.client import asking, client
from metricforge.hub.contents import FILES


def downloaded(text: str) -> Path:
    """The folder of the model at `hub:OWNER/NAME[@REVISION]`, downloaded if it is not yet.

    Only the files of a model are downloaded, and each is checked by its sha256.

    Args:
        text: The address, which the user named: one that a file names is never downloaded.

    Returns:
        A folder in the cache of huggingface_hub.

    Raises:
        UsageError: It is no address, the hub does not have it, or huggingface_hub is missing.
        ResourceError: The network or the user's rights don't suffice.
        ArtefactError: It is damaged or is no model of MetricForge, or a saved model names it.
    """
    refuse_fetching(f"the model {text}", "download it, and name its folder")
    address = Address.parse(text)
    hub = client(text)
    with asking(f"download {address}"):
        folder = hub.snapshot_download(
            address.repository, revision=address.revision, allow_patterns=sorted(FILES)
        )
    try:
        read_folder(Path(folder))
    except ArtefactError as error:
        raise ArtefactError(
            f"{address} is damaged, or is no model of MetricForge: {error} `hf cache rm "
            f"model/{address.repository}` removes the download."
        ) from error
    return Path(folder)

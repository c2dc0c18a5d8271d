"""The README of a model for its page on a hub."""

from __future__ import annotations

import re

from metricforge.hub.address import PREFIX
from metricforge.hub.contents import IMAGES
from metricforge.markdown import front_matter, quoted
from metricforge.model_card import PLACE

_INSTALL = "pip install metricforge"
_HEAD = re.compile(r"---\n.*?\n---(\n|\Z)", re.DOTALL)


def amended(readme: str, repository: str, licence: str = "", pictures: bool = False) -> str:
    """The README with what is known when it is pushed.

    That is its address, which its examples then name; a licence, in the head; and pictures of
    held-out images, at the end. A README without a head gets one.
    """
    if not _HEAD.match(readme):
        readme = "\n".join([*front_matter({"library_name": "metricforge"}), "", readme])
    head = _HEAD.match(readme)
    assert head is not None
    top, rest = head[0], readme[head.end() :]
    if licence:
        top = re.sub(r"^license: .*\n", "", top, flags=re.MULTILINE)
        top = top.replace("---\n", f"---\nlicense: {quoted(licence)}\n", 1)
    rest = rest.replace(PLACE, f"{PREFIX}{repository}")
    rest = rest.replace(f"{_INSTALL}\n", 'pip install "metricforge[hub]"\n', 1)
    if pictures and IMAGES not in rest:
        rest = rest.rstrip("\n") + (
            "\n\n## Held-out images\n\nAt the left a query of a held-out class, beside it the "
            f"nearest images.\n\n![Queries and their nearest images]({IMAGES})\n"
        )
    return top + rest

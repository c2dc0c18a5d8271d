"""RESULTS.md, put together from sections that benchmarks write."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from metricforge.runtime import device_name

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "RESULTS.md"


def write_section(name: str, lines: Iterable[str], page: Path = RESULTS) -> None:
    """Put the lines into the section `name`, in the place of what it had; new ones come last."""
    text = page.read_text() if page.is_file() else "# Results\n"
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
    section = begin + "\n".join(lines) + "\n" + end
    found = re.search(re.escape(begin) + ".*?" + re.escape(end), text, re.DOTALL)
    if found:
        text = text[: found.start()] + section + text[found.end() :]
    else:
        text = text.rstrip("\n") + "\n\n" + section
    page.write_text(text)


def in_a_process(module: str, *words: str) -> Any:
    """What a benchmark prints in its last line, JSON, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", module, *words], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def machine() -> str:
    """The processor, the GPU if there is one, threads and versions."""
    model = device_name(torch.device("cpu"))
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    threads = torch.get_num_threads()
    return f"{model}, {threads} threads{gpu}; torch {torch.__version__.partition('+')[0]}"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """A table in Markdown."""
    head = list(head)
    return [
        "| " + " | ".join(head) + " |",
        "|---" * len(head) + "|",
        *("| " + " | ".join(row) + " |" for row in rows),
    ]

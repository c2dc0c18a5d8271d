"""The packages of the extra `export`."""

from __future__ import annotations

from importlib.util import find_spec

from metricforge.errors import UsageError

PACKAGES = ("onnx", "onnxruntime", "onnxscript")


def check_installed(needed_by: str) -> None:
    """UsageError, with the command that installs them, if a package is missing."""
    for name in PACKAGES:
        try:
            missing = find_spec(name) is None
        except ValueError:  # as for a module that is blocked in sys.modules
            missing = True
        if missing:
            raise UsageError(
                f'{needed_by} requires the package {name}: pip install "metricforge[export]".'
            )

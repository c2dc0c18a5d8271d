"""The beginning of a plugin: a package with a working component, its tests and its README.

>>> from metricforge.scaffold import write_plugin
>>> write_plugin("sampler", "my-idea")
PosixPath('my-idea')
"""

from metricforge.scaffold.package import write_plugin

__all__ = ["write_plugin"]

"""The components that ship with MetricForge; they enter by the same door as anyone's."""

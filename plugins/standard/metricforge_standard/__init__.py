"""The components that ship with MetricForge, registered like those of any other plugin."""

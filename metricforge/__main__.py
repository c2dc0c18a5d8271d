"""`python -m metricforge` is the command `metricforge`."""

from metricforge.cli import main

main()

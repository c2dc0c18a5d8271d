"""Show a run: progress while it trains, then plots and one HTML page that needs no network.

Nothing is imported here, so that showing progress does not wait for matplotlib.
"""

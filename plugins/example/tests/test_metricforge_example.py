from metricforge_example import NearestPairs

from metricforge.testing import check_miner


def test_nearest_pairs():
    check_miner(NearestPairs, most=8)

from metricforge.testing import check_miner
from metricforge_example import NearestPairs


def test_nearest_pairs():
    check_miner(NearestPairs, most=8)

from metricforge.contracts import Pairs


class NearestPairs:
    """The `most` closest pairs of the batch, of one class or not."""

    kind = Pairs

    def __init__(self, *, most: int = 32) -> None:
        self.most = most

    def __call__(self, embeddings, labels):
        anchor, other = embeddings.new_ones(len(labels), len(labels)).triu(1).nonzero().unbind(1)
        nearest = (embeddings[anchor] - embeddings[other]).norm(dim=1).argsort()[: self.most]
        anchor, other = anchor[nearest], other[nearest]
        return Pairs(anchor, other, labels[anchor] == labels[other])

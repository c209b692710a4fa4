"""Results of a pool that is kept in many files: a result shard for each, resumable, on one machine or more."""

from hnscore.shards.density_pool import density
from hnscore.shards.mine_pool import mine
from hnscore.shards.results import top
from hnscore.shards.run import Summary
from hnscore.shards.score_pool import score

__all__ = ["Summary", "density", "mine", "score", "top"]

"""Results of a pool that is kept in many files: a result shard for each, resumable, on one machine or more."""

from hnscore.shards.best import top
from hnscore.shards.density_pool import density
from hnscore.shards.mine_pool import mine
from hnscore.shards.run import Summary
from hnscore.shards.score_pool import score
from hnscore.shards.select_pool import Selection, select

__all__ = ["Selection", "Summary", "density", "mine", "score", "select", "top"]

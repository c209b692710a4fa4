"""hnscore in a torch.distributed loop: each rank holds some of the images and of the texts, and gets what is theirs.

Every function is a collective call: all ranks of the group make it, with the same settings. The rows of all ranks
count, rank after rank; owners are numbers of rows among all of them. What a rank gets does not depend on how many ranks
there are, in all its bits. Without a process group it is one process. gloo and NCCL alike.
"""

from hnscore.distributed.mine_ranks import mine
from hnscore.distributed.references import reference_similarity
from hnscore.distributed.score_ranks import score
from hnscore.distributed.triplet import TripletLoss

__all__ = ["TripletLoss", "mine", "reference_similarity", "score"]

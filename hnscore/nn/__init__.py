"""Gaussian embeddings of image-text pairs on top of frozen features, learnt with torch: `import hnscore.nn`.

encoder = hnscore.nn.ProbabilisticEncoder(img.shape[1], txt.shape[1])
result = hnscore.nn.fit(encoder, img, txt, groups=image_of_each_pair)
pairs = encoder(pool_img, pool_txt)  # means and variances
hnscore.informativeness(*pairs, scale=result.scale, shift=result.shift)
"""

try:
    import torch as _torch  # noqa: F401
except ImportError as error:
    raise ImportError("hnscore.nn needs torch, which cannot be imported; pip install 'hnscore[torch]'") from error

from hnscore.nn.encoder import GaussianPairs, ProbabilisticEncoder
from hnscore.nn.fit import FitResult, fit
from hnscore.nn.loss import ProbabilisticLoss
from hnscore.nn.triplet import TripletLoss

__all__ = ["FitResult", "GaussianPairs", "ProbabilisticEncoder", "ProbabilisticLoss", "TripletLoss", "fit"]

"""Tasks for Label Studio: the picked images, each with the texts that it is mistaken for.

tasks = hnscore.adapters.label_studio.tasks(rows, pairs, images=urls, texts=captions)
json.dump(tasks, open("tasks.json", "w"))                      # to import; LABELING shows them
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hnscore.arguments.numbers import check_integer
from hnscore.mining.pairs import Pairs

LABELING = """\
<View>
  <Image name="image" value="$image"/>
  <Header value="Which of these texts describe the image?"/>
  <Choices name="mistaken" toName="image" value="$mistaken_for" choice="multiple"/>
  <Header value="A text for this image"/>
  <TextArea name="caption" toName="image" rows="2" required="true"/>
</View>
"""


def tasks(
    rows: object,
    pairs: Pairs,
    *,
    images: Sequence[str],
    texts: Sequence[str],
    ids: Sequence[Any] | None = None,
    k: int = 5,
) -> list[dict[str, Any]]:
    """A task for each picked image, as Label Studio imports them.

    Parameters
    ----------
    rows : integer array (n,)
        Rows of the pool, for example of `hnscore.select`.
    pairs : Pairs
        ``hnscore.pairs(img, txt, margin, order="similarity", ...)``: the texts of each image of the pool, best first.
    images : sequence of str (n_img,)
        Address of each image of the pool.
    texts : sequence of str (n_txt,)
        The texts.
    ids : sequence (n_img,), optional
        Of the images; default: their rows.
    k : int
        Texts of a task, at most.

    Returns
    -------
    tasks : list of dict
        ``{"data": {"image", "mistaken_for": [{"value": text}, ...]}, "meta": {"id", "row", "hard_texts",
        "similarities"}}``, ready for ``json.dump``. `LABELING` is a labeling interface for them.

    Raises
    ------
    ValueError
        For rows outside the pool, or lists of another length.
    """
    offsets, indices, similarities = (np.asarray(x) for x in pairs)
    n = len(offsets) - 1
    k = check_integer("k", k, 0, None, "texts of a task")
    for name, given, wanted in (("images", images, n), ("ids", ids, n)):
        if given is not None and len(given) != wanted:
            raise ValueError(f"{name} must have one for each of {wanted} images of pairs, got {len(given)}; check it")
    made = []
    for row in np.asarray(rows, np.int64).tolist():
        if not 0 <= row < n:
            raise ValueError(f"rows must hold rows of the pool, 0 to {n - 1}, got {row}; check them")
        found = slice(int(offsets[row]), min(int(offsets[row + 1]), int(offsets[row]) + k))
        mistaken = [{"value": texts[j]} for j in indices[found].tolist()]
        meta = {
            "id": row if ids is None else ids[row], "row": row, "hard_texts": int(offsets[row + 1] - offsets[row]),
            "similarities": [round(float(s), 6) for s in similarities[found]],
        }  # fmt: skip
        made.append({"data": {"image": images[row], "mistaken_for": mistaken}, "meta": meta})
    return made

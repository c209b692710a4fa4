"""What an installed wheel must do on any machine, without a test framework: exact counts on every target that it has.

Run it outside the source tree: ``python tests/wheel.py``.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import hnscore
from hnscore import _core, demo


def main() -> None:
    data = demo.load()
    img, txt, own = (x.astype(np.float64) for x in (data.img_emb, data.txt_emb, data.reference))
    img, txt, own = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (img, txt, own))
    s, tau = img @ txt.T, (own * txt).sum(axis=1) - demo.MARGIN
    assert not (np.abs(s - tau) < 1e-12).any(), "a pair of the packaged set lies at its threshold"
    for target in _core.config()["targets_supported"]:
        _core.set_target(target)
        call = data.img_emb, data.txt_emb, demo.MARGIN
        counts = hnscore.score(*call, reference=data.reference, weight="count")
        np.testing.assert_array_equal(counts, (s > tau).sum(axis=1), err_msg=target)
        sums = hnscore.score(*call, reference=data.reference)
        np.testing.assert_allclose(sums, np.maximum(s - tau, 0).sum(axis=1), rtol=1e-5, atol=1e-4, err_msg=target)
        print(f"{target}: {int(counts.sum()):,} pairs count, as they should")
    margin = hnscore.margin_for(data.img_emb, data.txt_emb, 0.01, reference=data.reference)
    print(f"margin for 1 %: {margin:.4f}")
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "hnscore"]
        picture = Path(folder) / "demo.svg"
        subprocess.run([*command, "demo", "-o", str(picture), "--export", folder], check=True, capture_output=True)
        assert picture.stat().st_size > 10_000
        files = [f"--{name}={Path(folder) / file}.npy" for name, file in FILES.items()]
        for _ in range(2):  # the second time it is up to date
            subprocess.run([*command, "score", *files, "--no-progress"], check=True, capture_output=True)
        scores = np.load(Path(folder) / "scores.npy")
    np.testing.assert_array_equal(scores, hnscore.score(*call, reference=data.reference))
    print("commands: ok")


FILES = {"images": "pool", "texts": "texts", "reference": "reference", "output": "scores"}

if __name__ == "__main__":
    main()

"""Random calls of every public function, a few of fuzz.py's: `python tests/fuzz.py` runs any number."""

import fuzz
import pytest

BLOCK = 25  # cases of a test
BLOCKS = {"score": 80}  # of a function
OTHERS = 20


@pytest.mark.exhaustive(10)
@pytest.mark.parametrize(
    ("name", "block"), [(name, block) for name in fuzz.FUNCTIONS for block in range(BLOCKS.get(name, OTHERS))]
)
def test_random_calls(name: str, block: int) -> None:
    fuzz.run(name, range(block * BLOCK, (block + 1) * BLOCK))

"""What the options of a command are added to."""

import argparse
from typing import Any

Group = argparse._ActionsContainer
Commands = argparse._SubParsersAction[Any]

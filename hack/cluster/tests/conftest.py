"""Adds the parent of the package to the path, like `python3 hack/cluster`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

"""The ranks' scripts and the tests share training.py."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

"""Makes the tiny model of library_snippets_test: make_tiny_model.py FOLDER."""

import shutil
import sys
from pathlib import Path

from tiny_model import make_model

folder = Path(sys.argv[1])
shutil.rmtree(folder, ignore_errors=True)
make_model(folder)

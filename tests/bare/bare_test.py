"""core and distributed build and work with LibTorch, GoogleTest and one JSON header (tests/bare)."""

import os
import re
import subprocess
import unittest
from pathlib import Path

SOURCE, TORCH = Path(os.environ["HONE_SOURCE"]), os.environ["HONE_TORCH_DIR"]
BUILD = Path(os.environ["HONE_BUILD"]) / "bare"
# Of what else hone is built with.
FOREIGN = re.compile(r"/(mpi|hdf5|yaml-cpp|spdlog|boost|openssl|re2|rapidcheck)[/.]", re.IGNORECASE)


class Bare(unittest.TestCase):
    def command(self, *arguments: str | Path) -> str:
        result = subprocess.run(arguments, capture_output=True, text=True, timeout=1500, check=False)
        self.assertEqual(result.returncode, 0, f"{arguments}\n{result.stdout[-5000:]}{result.stderr}")
        return result.stdout

    def test_builds_and_passes_with_little_else(self) -> None:
        self.command("cmake", "-G", "Ninja", "-S", SOURCE / "tests/bare", "-B", BUILD, f"-DHONE_TORCH_DIR={TORCH}")
        self.command("cmake", "--build", BUILD, "-j", "2")
        headers = {line.strip() for line in self.command("ninja", "-C", BUILD, "-t", "deps").splitlines()}
        self.assertGreater(len(headers), 100)
        outside = {line for line in headers if not line.startswith((str(SOURCE), TORCH))}
        self.assertEqual([line for line in outside if FOREIGN.search(line)], [])
        shown = self.command("ctest", "--test-dir", BUILD, "--output-on-failure")
        self.assertIn("100% tests passed", shown)
        on_gpus = self.command("ctest", "--test-dir", BUILD, "-L", "gpu", "-N")
        self.assertIn("nccl_gpu_test", on_gpus)


if __name__ == "__main__":
    unittest.main()

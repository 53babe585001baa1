"""hone installs, and the example builds against the installed package and runs."""

import os
import subprocess
import tempfile
import unittest
from pathlib import Path

from tiny_model import make_model

BUILD, SOURCE = Path(os.environ["HONE_BUILD"]), Path(os.environ["HONE_SOURCE"])


class Install(unittest.TestCase):
    def command(self, *arguments: str | Path) -> str:
        result = subprocess.run(arguments, capture_output=True, text=True, timeout=280, check=False)
        self.assertEqual(result.returncode, 0, f"{arguments}\n{result.stdout}{result.stderr}")
        return result.stdout

    def test_row02_examples_build_and_run_out_of_tree(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            prefix, build, output = folder / "prefix", folder / "build", folder / "output"
            model = make_model(folder / "model")
            self.command("cmake", "--install", BUILD, "--prefix", prefix)
            self.assertIn("hone ", self.command(prefix / "bin/hone", "--version"))
            self.command("cmake", "-S", SOURCE / "examples/library", "-B", build, "-G", "Ninja",
                         f"-DCMAKE_PREFIX_PATH={prefix}")
            self.command("cmake", "--build", build)
            self.command("mpirun", "-q", "--bind-to", "none", "-np", "2", build / "iterative_loop", model, output)
            for file in ("model.safetensors", "config.json", "checkpoint-10/manifest.json", "exit/rank-1.json"):
                self.assertTrue((output / file).exists(), file)
            self.check_programs_of_the_page(folder, prefix)

    def check_programs_of_the_page(self, folder: Path, prefix: Path) -> None:
        """Row 2 of docs/trainer.md: both programs, for a decoder-only model and an encoder-decoder."""
        build = folder / "build-page"
        self.command("cmake", "-S", SOURCE / "examples/iterative_sft", "-B", build, "-G", "Ninja",
                     f"-DCMAKE_PREFIX_PATH={prefix}")
        self.command("cmake", "--build", build)
        for family in ("gpt2", "t5"):
            model = make_model(folder / family, family=family)
            for program in ("step_texts", "step_tokens"):
                output = folder / f"{program}-{family}"
                self.command("mpirun", "-q", "--bind-to", "none", "-np", "2", build / program, model, output)
                log = (output / "logs/rank-0.log").read_text()
                self.assertEqual(log.count(" samples=3 "), 3, log)
                self.assertNotEqual((output / "model.safetensors").read_bytes(),
                                    (model / "model.safetensors").read_bytes())


if __name__ == "__main__":
    unittest.main()

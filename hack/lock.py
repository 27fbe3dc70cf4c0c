"""Locks the dependencies of pyproject.toml in requirements/*.txt. `--check` reports whether the files are fresh.

`requirements/dev.txt` contains all dependencies, and the file of each image is a subset, so all images and the tests
use the same versions. The files name no registry, so they work with any mirror. The check needs no network: dev.txt
contains a hash of its inputs. The files of the images do not, so a new development tool does not rebuild an image.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "requirements"
PYTHON = "3.11"  # the oldest supported version; the files are valid for it and all later ones

# Arguments of `uv pip compile` for each file. The file of an image has the name of the image.
EVERYTHING = ["--all-extras", "--group", "dev"]
IMAGES = {
    "operator": ["--extra", "operator", "--extra", "store"],
    "server": ["--extra", "server"],
    "pipeline": ["--extra", "pipeline", "--extra", "server"],
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, and fail if a file is stale")
    parser.add_argument("--upgrade", action="store_true", help="use the newest versions instead of the locked ones")
    options = parser.parse_args()
    if options.check:
        stale = stale_locks()
        if stale:
            print(f"stale, because pyproject.toml has changed: requirements/{', '.join(stale)}; run: make lock")
        return 1 if stale else 0
    compile_lock("dev", EVERYTHING + (["--upgrade"] if options.upgrade else []), header=inputs_stamp())
    for name, extras in IMAGES.items():
        # Every version is that of dev.txt.
        lock_file(name).unlink(missing_ok=True)
        compile_lock(name, [*extras, "--constraint", str(lock_file("dev"))])
    return 0


def stale_locks() -> list[str]:
    """Names of the files that are older than pyproject.toml."""
    everything = lock_file("dev")
    if not everything.exists() or not everything.read_text().startswith(inputs_stamp()):
        return ["dev.txt", *(f"{name}.txt" for name in IMAGES)]
    common = pins("dev")
    return [f"{name}.txt" for name in IMAGES if not lock_file(name).exists() or not pins(name) <= common]


def pins(name: str) -> set[str]:
    """The pins of a file as name==version, without their environment markers."""
    return {line.split()[0] for line in lock_file(name).read_text().splitlines() if "==" in line and line[0] != "#"}


def lock_file(name: str) -> Path:
    return LOCKS / f"{name}.txt"


def inputs_stamp() -> str:
    """The first line of dev.txt, which identifies the inputs of the files."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = pyproject["project"]
    inputs = [
        project["requires-python"],
        project["dependencies"],
        project["optional-dependencies"],
        pyproject["dependency-groups"],
        IMAGES,
    ]
    return f"# dependencies of pyproject.toml: sha256:{hashlib.sha256(json.dumps(inputs).encode()).hexdigest()}\n"


def compile_lock(name: str, arguments: list[str], header: str = "") -> None:
    file = lock_file(name)
    print(f"resolving {file.relative_to(ROOT)}", flush=True)
    command = ["uv", "pip", "compile", "pyproject.toml", "--universal", "--python-version", PYTHON, "--generate-hashes"]
    command += ["--no-header", "--no-annotate", "--quiet", *arguments, "--output-file", str(file)]
    try:
        subprocess.run(command, cwd=ROOT, check=True, timeout=300)
    except FileNotFoundError:
        sys.exit("uv is not on the PATH; install it, for example with: python3 -m pip install uv")
    except subprocess.CalledProcessError:
        sys.exit(f"{file.relative_to(ROOT)} cannot be resolved; see the output of uv above")
    except subprocess.TimeoutExpired:
        sys.exit("the package index did not answer within 5 minutes; retry later")
    file.write_text(f"{header}# written by `make lock`: do not edit\n{file.read_text()}")


if __name__ == "__main__":
    sys.exit(main())

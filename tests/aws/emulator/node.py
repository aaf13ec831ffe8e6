"""What Lambda's Node.js runtime brings, for the functions that the CDK adds to a stack: the AWS SDK for JavaScript.

https://docs.aws.amazon.com/lambda/latest/dg/lambda-nodejs.html#nodejs-sdk-included
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

from headgate.cdk.packaging import cache_folder
from headgate.cdk.toolkit import environment, node

_WANTED = Path(__file__).parent / "node"


def binary_folder() -> Path:
    """Where `node` is."""
    return Path(node()).parent


def packages(wanted: Path = _WANTED) -> Path:
    """The folder of the packages that a folder's lock names, whether they are installed or not."""
    digest = hashlib.sha256((wanted / "package-lock.json").read_bytes()).hexdigest()
    return cache_folder() / f"node-runtime-{digest[:12]}" / "node_modules"


def install(wanted: Path = _WANTED) -> None:
    """Install them, once for this machine."""
    folder = packages(wanted).parent
    if folder.exists():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="installing-") as scratch:
        half = Path(scratch) / "node"
        shutil.copytree(wanted, half)
        npm = [node(), str(Path(node()).parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]
        flags = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error"]
        subprocess.run([*npm, "ci", *flags], cwd=half, env=environment(), check=True, capture_output=True)
        try:
            half.rename(folder)
        except OSError:  # another worker was faster
            if not folder.exists():
                raise

"""What is uploaded to Lambda: a layer of dependencies, a zip of the user's code, or a folder to build an image from.

The same inputs make the same bytes, and what was made once lies in a cache folder under a digest of its inputs.
No Docker: packages are fetched ready-made for the machine that Lambda runs on.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import headgate
from headgate import limits
from headgate.cdk.dependencies import install, python_at_hand, wanted
from headgate.cdk.zips import digest, digest_of, files_below, heaviest, size_of, write_zip
from headgate.errors import Misuse

CACHE_VARIABLE = "HEADGATE_CACHE"

_RECIPE = "1"  # part of every digest: raise it when the same inputs are to make something else
_ROOMS_LEFT_AT_HOME = {"cdk", "cli", "local", "testing"}
_PLATFORMS = {"arm64": "aarch64-manylinux2014", "x86_64": "x86_64-manylinux2014"}

# Where Lambda unpacks them: bytecode says these paths in a traceback.
_LAYER_HOME = "/opt"
_CODE_HOME = "/var/task"

_NOT_CODE = {"__pycache__", "build", "cdk.out", "dist", "node_modules", "test", "tests"}
_NOT_CODE_AT_THE_TOP = {
    "Dockerfile", "Makefile", "cdk.context.json", "cdk.json", "outputs.json", "package-lock.json", "package.json",
    "pyproject.toml", "uv.lock",
}  # fmt: skip
_PAPERS = ("readme", "changelog", "contributing", "license", "requirements")
_NEVER_SHIPPED = (".pyc", ".pyo", ".pem", ".key", ".p12", ".pfx", ".sqlite3", ".egg-info")


class Target(NamedTuple):
    """Where it will run: `python3.13` on `arm64` or `x86_64`, in Lambda's words."""

    runtime: str = "python3.13"
    architecture: str = "arm64"

    @property
    def minor(self) -> str:
        """`3.13`."""
        return self.runtime.removeprefix("python")

    @property
    def platform(self) -> str:
        """uv's word for the machine. Every runtime has at least that glibc."""
        return _PLATFORMS[self.architecture]


def layer(project: Path, target: Target) -> Path:
    """The zip of all dependencies, `python/...`: the project's, ours, and the part of headgate that runs in Lambda.

    `.pyc` files are in it where a Python of that version is on this machine. Raises Misuse where
    a dependency cannot be had for the target, or where all together are more than Lambda unpacks.
    """
    zip_ = _dependencies(project, target)
    _refuse_too_large(zip_)
    return zip_


def code(project: Path, target: Target | None = None) -> Path:
    """The zip of the user's own files. With a target, bytecode is in it on the same terms as in the layer.

    Left out are tests, hidden files, virtual environments, what tools have made, and what looks like a secret.
    """
    files = dict(_code_files(project))
    python = python_at_hand(target.minor) if target else None
    zip_ = cache_folder() / f"code-{digest(_RECIPE, digest_of(files), _version_of(python))}.zip"
    if not zip_.exists():
        with _scratch() as scratch:
            for name, path in files.items():
                _copy(path, scratch / name)
            _compile(python, scratch, _CODE_HOME)
            write_zip(files_below(scratch), zip_)
    return zip_


def image(project: Path, target: Target) -> Path:
    """A folder with a Dockerfile, to build the container image from. The function's handler is the image's command.

    Lambda takes no image with attestations. The CDK CLI builds without (BUILDX_NO_DEFAULT_ATTESTATIONS=1).
    """
    dependencies, own = _dependencies(project, target), code(project, target)
    folder = cache_folder() / f"image-{digest(_RECIPE, *target, dependencies.name, own.name)}"
    if not folder.exists():
        with _scratch() as scratch:
            half = scratch / "image"
            shutil.unpack_archive(dependencies, half / "layer")
            shutil.unpack_archive(own, half / "code")
            (half / "Dockerfile").write_text(dockerfile(target))
            try:
                half.rename(folder)
            except OSError:  # somebody else was faster
                if not folder.exists():
                    raise
    return folder


def dockerfile(target: Target) -> str:
    """The Dockerfile of an image for that target."""
    return (
        f"FROM public.ecr.aws/lambda/python:{target.minor}-{target.architecture}\n"
        "COPY layer/python/ ${LAMBDA_TASK_ROOT}/\n"
        "COPY code/ ${LAMBDA_TASK_ROOT}/\n"
    )


def cache_folder() -> Path:
    """Where zips and tools are kept between runs: HEADGATE_CACHE, else `headgate` in the user's cache folder."""
    if said := os.environ.get(CACHE_VARIABLE):
        return Path(said)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "headgate"


def _dependencies(project: Path, target: Target) -> Path:
    needs = wanted(project)
    ours = _shipped_part()
    python = python_at_hand(target.minor)
    made_of = digest(_RECIPE, *target, needs.described, digest_of(ours), _version_of(python))
    zip_ = cache_folder() / f"layer-{made_of}.zip"
    if not zip_.exists():
        with _scratch() as scratch:
            packages = scratch / "python"
            install(needs, target.minor, target.platform, packages)
            for name, path in ours.items():
                _copy(path, packages / "headgate" / name)
            _compile(python, scratch, _LAYER_HOME)
            write_zip(files_below(scratch), zip_)
    return zip_


def _shipped_part() -> Mapping[str, Path]:
    """headgate's modules that run in Lambda."""
    home = Path(headgate.__file__).parent
    return {
        name: path
        for name, path in files_below(home).items()
        if name.split("/")[0] not in _ROOMS_LEFT_AT_HOME and path.suffix in (".py", ".typed")
    }


def _code_files(project: Path) -> Iterator[tuple[str, Path]]:
    for folder, subfolders, names in os.walk(project):
        here = Path(folder)
        top = here == project
        subfolders[:] = sorted(name for name in subfolders if _is_code_folder(here / name))
        for name in sorted(names):
            if _is_code_file(name, top=top):
                path = here / name
                if not path.resolve().is_relative_to(project.resolve()):
                    raise Misuse(f"{path} is a link that leads out of the project: put the file itself there.")
                yield path.relative_to(project).as_posix(), path


def _is_code_folder(path: Path) -> bool:
    if path.name.startswith(".") or path.name in _NOT_CODE or path.name.endswith(_NEVER_SHIPPED):
        return False
    return not (path / "pyvenv.cfg").exists() and not path.is_symlink()


def _is_code_file(name: str, *, top: bool) -> bool:
    if name.startswith((".", "id_rsa", "id_ed25519")) or name.endswith(_NEVER_SHIPPED):
        return False
    return not (top and (name in _NOT_CODE_AT_THE_TOP or name.lower().startswith(_PAPERS)))


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(source.read_bytes())


@contextmanager
def _scratch() -> Iterator[Path]:
    """A folder for the time of a build, beside what it becomes."""
    home = cache_folder()
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home, prefix="building-") as folder:
        yield Path(folder)


def _compile(python: str | None, folder: Path, home: str) -> None:
    """Bytecode that is never compared with its source, whose date in Lambda is not the one it has here."""
    if python is None:
        return
    told = [python, "-m", "compileall", "-q", "-j", "1", "--invalidation-mode", "unchecked-hash"]
    told += ["-s", str(folder), "-p", home, str(folder)]
    environment = {"PATH": os.environ.get("PATH", ""), "PYTHONHASHSEED": "0"}
    subprocess.run(told, env=environment, capture_output=True, check=False)  # noqa: S603 - our own arguments


def _version_of(python: str | None) -> str:
    """All that bytecode depends on."""
    if python is None:
        return ""
    told = [python, "-c", "import sys; print(sys.version)"]
    return subprocess.run(told, capture_output=True, text=True, check=True).stdout  # noqa: S603 - a Python of ours


def _refuse_too_large(zip_: Path) -> None:
    most = limits.LAMBDA_UNZIPPED.value
    unzipped_bytes = size_of(zip_).unzipped_bytes
    if unzipped_bytes > most:
        weights = ", ".join(f"{name} {bytes_ / 1e6:.0f} MB" for name, bytes_ in heaviest(zip_))
        raise Misuse(
            f"The dependencies take {unzipped_bytes / 1e6:.0f} MB, and Lambda unpacks at most {most / 1e6:.0f} MB "
            f'(most of it: {weights}). Depend on less, or say packaging="image".'
        )

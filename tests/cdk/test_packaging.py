"""What is uploaded to Lambda: the same bytes from the same inputs, all it needs, and nothing it must not have."""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from headgate import limits
from headgate.cdk.packaging import Target, code, image, layer
from headgate.cdk.zips import size_of
from headgate.errors import Misuse

HERE = "python{}.{}".format(*sys.version_info)
AWS = Target("python3.13", "arm64")

APP = """\
from headgate import App, Public

app = App("desk")
app.channel("/notes", auth=Public())
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "desk"
    folder.mkdir()
    (folder / "app.py").write_text(APP)
    return folder


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADGATE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def names(zip_: Path) -> set[str]:
    with zipfile.ZipFile(zip_) as archive:
        return set(archive.namelist())


def packages(zip_: Path) -> set[str]:
    return {name.split("/")[1] for name in names(zip_)}


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Folders that one build after another uses: what one has made, the next does not find."""

    def fresh() -> Iterator[Path]:
        number = 0
        while True:
            number += 1
            monkeypatch.setenv("HEADGATE_CACHE", str(tmp_path / f"cache-{number}"))
            yield tmp_path / f"cache-{number}"

    return fresh()


@pytest.mark.parametrize("target", [AWS, Target(HERE, "x86_64")], ids=str)
def test_two_builds_in_two_folders_are_the_same_bytes(project: Path, caches: Iterator[Path], target: Target) -> None:
    builds = []
    for _ in range(2):
        cache = next(caches)
        builds.append([layer(project, target), code(project, target)])
        assert all(zip_.parent == cache for zip_ in builds[-1])

    assert [sha256(zip_) for zip_ in builds[0]] == [sha256(zip_) for zip_ in builds[1]]


def test_the_same_project_elsewhere_and_later_is_the_same_bytes(project: Path, caches: Iterator[Path]) -> None:
    next(caches)
    first = sha256(code(project, Target(HERE)))
    next(caches)
    moved = project.rename(project.parent / "moved")
    (moved / "app.py").write_text(APP)

    assert sha256(code(moved, Target(HERE))) == first


def test_what_was_made_once_is_taken_from_the_cache(project: Path) -> None:
    made = layer(project, AWS)
    before = made.stat().st_mtime_ns

    assert layer(project, AWS) == made
    assert made.stat().st_mtime_ns == before


def test_another_line_of_code_is_another_zip(project: Path) -> None:
    before = code(project)
    (project / "app.py").write_text(APP + "# changed\n")

    assert code(project) != before


def test_a_layer_for_arm_has_arm_binaries_and_nothing_that_lambda_has_or_has_no_use_for(project: Path) -> None:
    made = layer(project, AWS)

    assert {"pydantic", "msgspec", "jwt", "cryptography", "headgate"} <= packages(made)
    assert not {"boto3", "botocore", "uvicorn", "starlette", "aiohttp", "click", "aws_cdk", "bin"} & packages(made)
    binaries = [name for name in names(made) if name.endswith(".so")]
    assert binaries
    assert all("x86_64" not in name for name in binaries)
    with zipfile.ZipFile(made) as archive:
        machines = {archive.read(name)[18:20] for name in binaries}
    assert machines == {b"\xb7\x00"}, "e_machine of an ELF file for AArch64"


def test_a_signer_by_itself_is_shipped_to_every_python_that_it_is_published_for(project: Path) -> None:
    assert "aws_sdk_signers" in packages(layer(project, AWS))
    assert "aws_sdk_signers" not in packages(layer(project, Target("python3.11", "arm64")))


def test_of_headgate_only_what_runs_in_lambda_is_shipped(project: Path) -> None:
    ours = {name.removeprefix("python/headgate/") for name in names(layer(project, AWS)) if "/headgate/" in name}

    assert {"__init__.py", "message.py", "gate/accept.py", "declare/app.py"} <= ours
    assert not [name for name in ours if name.split("/")[0] in {"local", "cli", "cdk", "testing", "dashboard"}]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the layer is for x86_64")
def test_the_gate_answers_with_nothing_but_the_layer_and_the_code(project: Path, tmp_path: Path) -> None:
    target = Target(HERE, "x86_64")
    for zip_, folder in ((layer(project, target), "opt"), (code(project, target), "task")):
        with zipfile.ZipFile(zip_) as archive:
            archive.extractall(tmp_path / folder)
    program = (
        f"import sys; sys.path[:0] = [{str(tmp_path / 'task')!r}, {str(tmp_path / 'opt' / 'python')!r}]\n"
        "from headgate.aws.lambdas import ingest, query, authorizer\n"
        "import headgate.gate.answer, headgate.gate.query, jwt, app\n"
        "app.app.check(); print(headgate.gate.answer.__cached__); print(app.__cached__)"
    )

    done = subprocess.run([sys.executable, "-I", "-S", "-B", "-c", program], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    gate, app = map(Path, done.stdout.splitlines())
    assert b"/opt/python/headgate/gate/answer.py" in gate.read_bytes()
    assert b"/var/task/app.py" in app.read_bytes()


def test_bytecode_is_taken_as_it_is_whatever_the_date_of_its_source(project: Path) -> None:
    with zipfile.ZipFile(code(project, Target(HERE))) as archive:
        (compiled,) = [name for name in archive.namelist() if name.endswith(".pyc")]
        flags = archive.read(compiled)[4:8]

    assert flags == b"\x01\x00\x00\x00", "by hash, unchecked"


def test_the_dependencies_of_the_project_are_in_the_layer_but_never_boto3(project: Path) -> None:
    (project / "pyproject.toml").write_text(
        '[project]\nname = "desk"\nversion = "1"\ndependencies = ["headgate", "boto3", "uvicorn"]\n'
    )

    found = packages(layer(project, AWS))

    assert {"uvicorn", "h11"} <= found
    assert not {"boto3", "botocore", "s3transfer"} & found


def test_a_project_may_say_its_dependencies_in_requirements_txt(project: Path) -> None:
    (project / "requirements.txt").write_text("h11==0.16.0\n")

    assert "h11-0.16.0.dist-info" in packages(layer(project, AWS))


def test_a_dependency_that_is_not_ready_made_for_lambda_is_told_in_one_sentence(project: Path) -> None:
    (project / "requirements.txt").write_text("h11==0.0.0.1\n")

    with pytest.raises(Misuse) as told:
        layer(project, AWS)

    assert "h11==0.0.0.1" in str(told.value)
    assert "\n" not in str(told.value)


def test_a_layer_that_lambda_would_not_unpack_is_refused_and_says_what_is_so_large(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = layer(project, AWS)
    monkeypatch.setattr(limits, "LAMBDA_UNZIPPED", limits.LAMBDA_UNZIPPED._replace(value=1_000_000))

    with pytest.raises(Misuse) as told:
        layer(project, AWS)

    assert f"{size_of(made).unzipped_bytes / 1e6:.0f} MB" in str(told.value)
    assert "at most 1 MB (most of it: " in str(told.value)


def test_code_is_shipped_without_tests_secrets_and_what_tools_have_made(project: Path) -> None:
    kept = ("app.py", "shop/prices.py", "shop/prices.csv", "shop/README.md")
    left = (
        ".env", ".env.prod", ".git/config", ".headgate/store.sqlite3", ".venv/lib/x.py", "venv/pyvenv.cfg", "venv/x.py",
        "cdk.out/x.json", "node_modules/x.js", "tests/test_app.py", "__pycache__/app.pyc", "server.pem", "id_rsa",
        "shop/__pycache__/prices.pyc", "shop/signing.key", "cdk.json", "package.json", "outputs.json", "uv.lock",
        "pyproject.toml", "README.md", "backup.sqlite3",
    )  # fmt: skip
    for name in (*kept, *left):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text("")

    assert names(code(project)) == set(kept)


def test_a_link_that_leads_out_of_the_project_is_refused(project: Path, tmp_path: Path) -> None:
    (tmp_path / "shared.py").write_text("")
    (project / "shared.py").symlink_to(tmp_path / "shared.py")

    with pytest.raises(Misuse, match=r"shared\.py is a link that leads out of the project"):
        code(project)


def test_an_image_is_a_folder_with_a_dockerfile_and_the_same_files(project: Path) -> None:
    folder = image(project, AWS)

    assert (folder / "Dockerfile").read_text().startswith("FROM public.ecr.aws/lambda/python:3.13-arm64\n")
    assert (folder / "code" / "app.py").read_text() == APP
    assert (folder / "layer" / "python" / "headgate" / "message.py").exists()
    assert image(project, AWS) == folder


def test_what_the_dockerfile_copies_is_a_function_that_starts(project: Path, tmp_path: Path) -> None:
    here = Target(HERE, "arm64" if platform.machine() in ("arm64", "aarch64") else "x86_64")
    folder, root = image(project, here), tmp_path / "task"
    for line in (folder / "Dockerfile").read_text().splitlines()[1:]:
        copy, source, target = line.split()
        assert (copy, target) == ("COPY", "${LAMBDA_TASK_ROOT}/")
        shutil.copytree(folder / source, root, dirs_exist_ok=True)
    program = (
        "import os; import headgate.aws.lambdas.ingest; from headgate.aws.settings import Settings; "
        "from headgate.aws.deployed import app_of; print(app_of(Settings.read(os.environ)))"
    )

    done = subprocess.run(
        [sys.executable, "-S", "-s", "-c", program],
        cwd=root,
        env={"PYTHONPATH": str(root), "HEADGATE_APP": "app:app", "HEADGATE_STAGE": "dev"},
        capture_output=True,
        text=True,
    )

    assert done.stdout == "<app desk with 1 channels>\n", done.stderr

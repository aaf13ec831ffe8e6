"""Python zips run in a process of their own, under AWS's own runtime client (awslambdaric).

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html: the client fetches events from the Runtime API, which
ministack serves already, for custom runtimes.
https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html: the environment.
https://docs.aws.amazon.com/lambda/latest/dg/python-package.html#python-package-searchpath: what can be imported, in
which order: the code, its layers, the runtime's own packages (boto3 among them), the standard library.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import queue
import select
import struct
import sysconfig
import tempfile
import termios
import threading
import time
import uuid
import zipfile
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from ministack.core import lambda_runtime, tls
from ministack.core.responses import get_region
from ministack.services import lambda_svc

from tests.aws.emulator import ledger
from tests.aws.emulator.process import PATIENT
from tests.aws.emulator.versions import MINOR, RUNTIME

_RUNTIME_PACKAGES = ("awslambdaric", "boto3", "snapshot-restore-py", "simplejson", "botocore", "jmespath", "s3transfer",
                     "python-dateutil", "urllib3", "six")  # fmt: skip
_PATIENCE_S = 120
"""A function has so much more time than it declares, to start and for each call: this machine may be slow, and stand
still. Nothing here is about functions that take too long."""
_CHUNK_BYTES = 65_536
_unpacking = threading.Lock()


class _Package(bytes):
    """The bytes of a zip, and the configuration of the function it belongs to."""

    config: dict[str, Any]

    @classmethod
    def of(cls, code: bytes, config: dict[str, Any]) -> _Package:
        package = cls(code)
        package.config = config
        return package


class _Sandbox(lambda_runtime.ProvidedWorker):  # type: ignore[misc]
    """One execution environment."""

    def __init__(self, func_name: str, config: dict[str, Any], code_zip: bytes) -> None:
        patient = {**config, "Timeout": config.get("Timeout", 3) + _PATIENCE_S}
        super().__init__(func_name, patient, _Package.of(code_zip, patient))
        self._reading = threading.Lock()
        self._pipe: int | None = None

    def _await_init(self, init_timeout: float | None = None) -> None:
        with self._reading:
            out = self._proc.stdout
            self._pipe = None if out.closed else out.fileno()
        super()._await_init(_PATIENCE_S)

    def _pump_output(self, stream: Any, log_queue: Any) -> None:
        """What it writes, line by line. Whoever has `_reading` knows that what was read is in the queue."""
        pipe, rest = stream.fileno(), b""
        readable = select.poll()
        readable.register(pipe)
        while True:
            readable.poll()
            with self._reading:
                chunk = os.read(pipe, _CHUNK_BYTES)
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines if chunk else filter(None, (rest,)):
                    with suppress(queue.Full):
                        log_queue.put_nowait(line.decode(errors="replace").rstrip("\r"))
                if not chunk:
                    self._pipe = None if self._pipe == pipe else self._pipe
                    stream.close()
                    return

    def _drain_stderr_bounded(self, **_: Any) -> str:
        """All that it has written by now, however slowly this is read; a function writes before it answers."""
        while True:
            with self._reading:
                if self._pipe is None or not _unread(self._pipe):
                    return str(self._drain_stderr())
            time.sleep(0.001)

    def _build_handler_class(self, generation: int, pending: Any) -> Any:
        handler = super()._build_handler_class(generation, pending)
        handler.disable_nagle_algorithm = True  # without it every warm call waits 40 ms for a delayed ACK
        return handler

    def invoke(self, event: Any, request_id: str, *, trace_id: str | None = None,
               invoked_function_arn: str | None = None, **_: Any) -> Any:  # fmt: skip
        return super().invoke(event, request_id, trace_id=trace_id, invoked_function_arn=invoked_function_arn)


def _unread(pipe: int) -> int:
    """How many bytes there are to read."""
    (count,) = struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, struct.pack("i", 0)))
    return int(count)


def install() -> None:
    """Make ministack start Python functions so."""
    worker_class, execute = lambda_runtime._worker_class_for, lambda_svc._execute_function_warm
    code_folder, environment = lambda_svc._provided_runtime_code_dir, lambda_svc._provided_worker_env
    runtime = Path(tempfile.mkdtemp(prefix="var-runtime-"))
    _link_packages(runtime)

    def worker_class_for(config: dict[str, Any]) -> Any:
        return _Sandbox if _is_python(config) else worker_class(config)

    def executed(func: dict[str, Any], event: Any, request_id: str) -> Any:
        if _is_python(func.get("config") or func):
            return lambda_svc._execute_function_provided_warm(func, event, request_id)
        return execute(func, event, request_id)

    def unpacked(code: bytes) -> str:
        return str(_unpacked(code)) if isinstance(code, _Package) else code_folder(code)

    def surroundings(config: dict[str, Any], folder: str, port: int) -> dict[str, str]:
        if _is_python(config):
            return _environment(config, folder, port, runtime)
        env: dict[str, str] = environment(config, folder, port)
        return env

    lambda_runtime._worker_class_for = worker_class_for
    lambda_svc._execute_function_warm = executed
    lambda_svc._provided_runtime_code_dir = unpacked
    lambda_svc._provided_worker_env = surroundings


def _is_python(config: dict[str, Any]) -> bool:
    return str(config.get("Runtime", "")).startswith("python")


def _link_packages(runtime: Path) -> None:
    """What AWS's Python runtime brings, and nothing else of our own environment."""
    for name in _RUNTIME_PACKAGES:
        found = metadata.distribution(name)
        for top in {file.parts[0] for file in found.files or () if ".." not in file.parts}:
            source = Path(str(found.locate_file(top)))
            if source.exists() and top != "__pycache__":
                (runtime / top).symlink_to(source)
    if signer := os.environ.get("EMULATOR_SIGNER"):  # the one thing that layers for this Python lack
        (runtime / "aws_sdk_signers").symlink_to(Path(signer) / "aws_sdk_signers")


def _unpacked(package: _Package) -> Path:
    """The folder with the code and its layers, once for each content."""
    config = package.config
    if config["Runtime"] != RUNTIME:
        raise lambda_runtime.ProvidedRuntimeError(
            f"{config['Runtime']} is not at hand, {RUNTIME} is", "Runtime.InvalidRuntime"
        )
    layers = [lambda_svc._resolve_layer_zip(layer) for layer in config.get("Layers") or []]
    digest = hashlib.sha256(package)
    for layer in layers:
        digest.update(layer)
    folder = Path(tempfile.gettempdir()) / f"sandbox-{digest.hexdigest()[:32]}"
    with _unpacking:
        if not folder.exists():
            making = Path(tempfile.mkdtemp(prefix="unpacking-"))
            for content, place in [(bytes(package), "task"), *((layer, "opt") for layer in layers)]:
                _unzip(content, making / place)
            bootstrap = making / "bootstrap"
            # -S and -s: of this Python nothing but the standard library.
            bootstrap.write_text(
                f'#!/bin/sh\ncd "$LAMBDA_TASK_ROOT"\nexec {_interpreter()} -S -s -m $RUNTIME_CLIENT "$_HANDLER"\n'
            )
            bootstrap.chmod(0o755)
            making.rename(folder)
    return folder


def _interpreter() -> str:
    return str(Path(sysconfig.get_config_var("BINDIR")) / f"python{MINOR}")


def _unzip(content: bytes, place: Path) -> None:
    place.mkdir(exist_ok=True)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        lambda_svc._extract_zip_preserving_mode(archive, str(place))


def _environment(config: dict[str, Any], folder: str, port: int, runtime: Path) -> dict[str, str]:
    name, version = config["FunctionName"], config.get("Version", "$LATEST")
    hurries = ledger.is_in_a_hurry(Path(os.environ["EMULATOR_LEDGER"]), name)
    logging = config.get("LoggingConfig") or {}
    env = {
        "PATH": os.environ["PATH"],
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{port}",
        "AWS_REGION": get_region(),
        "AWS_DEFAULT_REGION": get_region(),
        "AWS_EXECUTION_ENV": f"AWS_Lambda_{config['Runtime']}",
        "AWS_LAMBDA_FUNCTION_NAME": name,
        "AWS_LAMBDA_FUNCTION_VERSION": version,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(config.get("MemorySize", 128)),
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": logging.get("LogGroup") or f"/aws/lambda/{name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": f"{time.strftime('%Y/%m/%d')}/[{version}]{uuid.uuid4().hex}",
        "LAMBDA_TASK_ROOT": f"{folder}/task",
        "LAMBDA_RUNTIME_DIR": str(runtime),
        "_HANDLER": config["Handler"],
        "RUNTIME_CLIENT": "awslambdaric" if hurries else "patient",
        "PYTHONPATH": os.pathsep.join(
            (
                f"{folder}/task",
                f"{folder}/opt/python/lib/python{MINOR}/site-packages",
                f"{folder}/opt/python",
                str(runtime),
                str(PATIENT),
            )
        ),
        "PYTHONDONTWRITEBYTECODE": "1",  # there the folders cannot be written to
        "TMPDIR": tempfile.mkdtemp(prefix="tmp-"),
    }
    if logging.get("LogFormat") == "JSON":
        env["AWS_LAMBDA_LOG_FORMAT"] = "JSON"
        env["AWS_LAMBDA_LOG_LEVEL"] = logging.get("ApplicationLogLevel", "INFO")
    env.update(lambda_runtime.execution_credentials(config))
    env.update(lambda_svc._runtime_env_vars(config))
    env["AWS_ENDPOINT_URL"] = os.environ["EMULATOR_ENDPOINT"]
    tls.trust_gateway_cert(env)
    return env

"""The state folder: whose it is at the moment, and the secrets that `dev` invents."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import secrets
import stat
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

from headgate.declare.app import App
from headgate.declare.auth import Jwt, Signed
from headgate.declare.channel import Channel
from headgate.declare.settings import Env, Secret
from headgate.declare.task import Task
from headgate.declare.topic import Topic
from headgate.errors import Misuse
from headgate.local.schema import FILE_NAME

FOLDER_NAME = ".headgate"

_LOCK, _CREDENTIALS = "lock", "credentials.json"
_OURS = (_LOCK, _CREDENTIALS, FILE_NAME)

_TRIES = 60
_PAUSE_S = 0.05


class Holder(NamedTuple):
    """Who serves from a folder. `control_token` opens its control routes to whoever can read the folder."""

    pid: int
    url: str
    control_token: str

    def __str__(self) -> str:
        if not self.pid:
            return "another process"
        return f"process {self.pid}, serving {self.url}" if self.url else f"process {self.pid}"


class StateFolder:
    """A folder with everything the local engine keeps. Only its owner can read it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: IO[str] | None = None

    @property
    def executions(self) -> Path:
        """The SQLite file that executions of workflows lie in."""
        from headgate.local.executions.schema import FILE_NAME  # here: few commands need what comes along

        return self.path / FILE_NAME

    @property
    def store(self) -> Path:
        """The SQLite file."""
        return self.path / FILE_NAME

    def hold(self) -> None:
        """Make the folder where there is none, and take it for this process. Raises Misuse where another has it.

        A command that changes something beside us has it for a moment only; that is waited for.
        """
        self._make()
        lock = (self.path / _LOCK).open("a+", encoding="utf-8")
        for tries_left in reversed(range(_TRIES)):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                holder = self.holder() or Holder(0, "", "")
                if holder.url or not tries_left:
                    lock.close()
                    raise Misuse(
                        f"{self.path} is in use by {holder}. Stop it, or say another --state folder."
                    ) from None
                time.sleep(_PAUSE_S)
        self._lock = lock
        self.announce("")

    def announce(self, url: str) -> str:
        """Say to other processes where this one serves; returns the control token they may use."""
        assert self._lock is not None, "hold the folder first"  # noqa: S101 - a mistake of ours, not of a user
        token = secrets.token_urlsafe(32)
        write_private(self.path / "holder.json", json.dumps(Holder(os.getpid(), url, token)._asdict()))
        return token

    def release(self) -> None:
        """Let others have the folder."""
        if self._lock is not None:
            (self.path / "holder.json").unlink(missing_ok=True)
            self._lock.close()
            self._lock = None

    def holder(self) -> Holder | None:
        """Who has the folder now; None where nobody has."""
        if not self._is_locked():
            return None
        try:
            holder = Holder(**json.loads((self.path / "holder.json").read_text()))
        except (OSError, ValueError, TypeError, RecursionError):
            return Holder(0, "", "")
        return holder if [*map(type, holder)] == [int, str, str] else Holder(0, "", "")

    def _is_locked(self) -> bool:
        try:
            with (self.path / _LOCK).open("r", encoding="utf-8") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return False

    def _make(self) -> None:
        try:
            self.path.mkdir(0o700, parents=True, exist_ok=True)
            self._check_ours()
            self.path.chmod(0o700)
            sync_folder(self.path.parent)
            _write_new(self.path / _LOCK, b"")  # first: from now on the folder is known for ours
            _write_new(self.path / ".gitignore", b"*\n")
        except OSError as error:
            todo = "written" if self.path.is_dir() else "made"
            raise Misuse(
                f"The state folder {self.path} cannot be {todo}: {error.strerror}. Say another --state."
            ) from None

    def _check_ours(self) -> None:
        """Raise Misuse for a folder that somebody else has, or that something else is in: it is not ours to close."""
        if self.path.stat().st_uid != os.geteuid():
            raise Misuse(f"The folder {self.path} belongs to another user; say a --state folder of your own.")
        if any(self.path.iterdir()) and not any(_is_own_file(self.path / name) for name in _OURS):
            inside = self.path / FOLDER_NAME
            raise Misuse(f"{self.path} has other things in it; say a folder for the state alone: --state {inside}.")

    # ------------------------------------------------------------------------------------------------------ secrets

    def credentials(self) -> dict[str, Any]:
        """What `dev` invented: `{"secrets": {name: value}, "api_keys": {channel: key}}`, and
        `"iam": {"access_key_id", "secret_access_key", "region", "service"}` where a channel wants signatures."""
        file = self.path / _CREDENTIALS
        try:
            kept = json.loads(file.read_bytes())
            secrets_, api_keys = _texts(kept["secrets"]), _texts(kept["api_keys"])
            iam = {"iam": _texts(kept["iam"])} if "iam" in kept else {}
        except (FileNotFoundError, NotADirectoryError):
            return {"secrets": {}, "api_keys": {}}
        except (ValueError, KeyError, TypeError, RecursionError):
            raise Misuse(f"{file} is damaged; remove it, and dev makes a new one.") from None
        return {"secrets": secrets_, "api_keys": api_keys, **iam}

    def keep_credentials(self, credentials: Mapping[str, Any]) -> None:
        """Keep them, readable for the owner alone."""
        self._make()
        write_private(self.path / _CREDENTIALS, json.dumps(credentials, indent=2))

    def settings(self, app: App, environ: Mapping[str, str], *, invent: bool) -> dict[str, str]:
        """Every Secret and Env of the app, resolved. Raises Misuse, naming all that are missing.

        With `invent` a missing secret is made up and kept. The environment always goes first.
        """
        credentials = self.credentials() if invent else {"secrets": {}, "api_keys": {}}
        resolved: dict[str, str] = {}
        missing = []
        for owner, setting in app.settings():
            value = environ.get(setting.name) or _otherwise(setting, owner, credentials, invent=invent)
            if value is None:
                missing.append(setting.name)
            else:
                resolved[setting.name] = value
        if missing:
            names = ", ".join(dict.fromkeys(missing))
            raise Misuse(f"Set the environment variable{'s' if ',' in names else ''} {names} before starting.")
        if invent and credentials != self.credentials():
            self.keep_credentials(credentials)
        return resolved


def _otherwise(
    setting: Secret | Env, owner: Channel | Topic | Task, credentials: dict[str, Any], *, invent: bool
) -> str | None:
    if isinstance(setting, Env):
        return setting.default
    if not invent:
        return None
    if setting.name not in credentials["secrets"]:
        match owner:
            case Channel(auth=Jwt(secret=secret)) if setting is not secret and setting not in owner.needs.secrets:
                return None
            case Channel(auth=Signed(style="standard")) if setting not in owner.needs.secrets:
                credentials["secrets"][setting.name] = _webhook_secret()
            case Topic():
                credentials["secrets"][setting.name] = _webhook_secret()
            case _:
                credentials["secrets"][setting.name] = secrets.token_urlsafe(32)
    return str(credentials["secrets"][setting.name])


def _webhook_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def _texts(kept: Any) -> dict[str, str]:
    """Text by name. Raises TypeError for anything else, ValueError for text with half a character in it."""
    if not isinstance(kept, dict):
        raise TypeError
    "".join(kept.values()).encode()
    return kept


def _is_own_file(path: Path) -> bool:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()


def _write_new(path: Path, content: bytes) -> None:
    """Write a file where there is none; what is there, a link too, stays as it is."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with contextlib.suppress(FileExistsError), os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        file.write(content)


def write_private(path: Path, text: str) -> None:
    """Replace a file in one step, readable for its owner alone, synced."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        error.filename = error.filename or str(path)  # what is written to does not say where it is
        raise
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make new names in a folder survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

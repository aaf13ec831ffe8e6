"""Finding and loading the user's app."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import sys
import traceback
from pathlib import Path
from types import ModuleType

from headgate.declare.app import App
from headgate.declare.source import shown
from headgate.errors import DeclarationError, DeclarationFault, Misuse


def load_app(target: str = ".") -> App:
    """The checked app at `target`: a folder with app.py, a Python file, or `module:name`.

    Raises Misuse where there is none, DeclarationError where it cannot be honoured; whatever goes wrong in the
    user's code becomes one sentence with its file and line.
    """
    file, module_name, attribute = _located(target)
    module = _loaded(file, module_name, target)
    app = _app_in(module, attribute, target)
    app.check()
    return app


def forget(target: str) -> None:
    """Have the next `load_app` load the app's modules anew, for another stage."""
    folder = app_folder(target)
    for name, module in [*sys.modules.items()]:
        file = getattr(module, "__file__", None)
        if name != "__main__" and file and _is_in(folder, Path(file)):
            del sys.modules[name]


def app_folder(target: str = ".") -> Path:
    """The folder that the app at `target` lives in: where its `.headgate` state folder stands by default."""
    file, _, _ = _located(target)
    return file.parent if file is not None else Path.cwd()


def app_reference(target: str = ".") -> str:
    """Where a program that runs in the app's folder imports the app at `target` from: `module:attribute`."""
    app = load_app(target)
    _, module_name, attribute = _located(target)
    module = sys.modules[module_name]
    return f"{module_name}:{attribute or next(name for name, value in vars(module).items() if value is app)}"


def _located(target: str) -> tuple[Path | None, str, str | None]:
    path = Path(target)
    if path.is_dir():
        file = path / "app.py"
        if not file.is_file():
            where = "here" if path.resolve() == Path.cwd() else f"in {target}"
            raise Misuse(f"There is no app.py {where}. Make one with `headgate init`, or say --app PATH.")
        return file.resolve(), "app", None
    if path.is_file():
        return path.resolve(), path.stem, None
    name, colon, attribute = target.partition(":")
    if colon and Path(name).is_file():
        return Path(name).resolve(), Path(name).stem, attribute
    if colon:
        return None, name, attribute
    raise Misuse(f"{target} is neither a folder with app.py, nor a Python file, nor module:app.")


def _loaded(file: Path | None, name: str, target: str) -> ModuleType:
    folder = file.parent if file is not None else Path.cwd()
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    try:
        if file is None:
            if importlib.util.find_spec(name.partition(".")[0]) is None:
                raise Misuse(
                    f"There is no module {name.partition('.')[0]}, neither here nor installed; say --app PATH."
                )
            return importlib.import_module(name)
        spec = importlib.util.spec_from_file_location(name, file)
        if spec is None or spec.loader is None:
            raise Misuse(f"{target} is not a Python file.")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    except (DeclarationError, Misuse):
        raise
    except SyntaxError as error:
        where = f"{shown(error.filename or str(file))}:{error.lineno or 1}"
        raise DeclarationError(DeclarationFault(where, f"this is not valid Python: {error.msg}.")) from None
    except SystemExit as error:
        where = _fault_of(error, folder, str(file or target)).where
        ends = "this ends Python, and with it headgate; put it below `if __name__ == '__main__':`."
        raise DeclarationError(DeclarationFault(where, ends)) from None
    except Exception as error:  # noqa: BLE001 - whatever the user's module raises is told as one sentence
        raise DeclarationError(_fault_of(error, folder, str(file or target))) from None
    return module


def _fault_of(error: Exception | SystemExit, folder: Path, fallback: str) -> DeclarationFault:
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if _is_in(folder, Path(frame.filename))]
    where = f"{shown(theirs[-1].filename)}:{theirs[-1].lineno}" if theirs else f"{shown(fallback)}:1"
    message = next(iter(str(error).splitlines()), "") + _what_it_takes(error)
    return DeclarationFault(where, ": ".join(filter(None, (type(error).__name__, message))))


def _what_it_takes(error: Exception | SystemExit) -> str:
    """How a sentence goes on that Python says about a call of one of our own classes with wrong arguments."""
    called = re.match(r"(\w+)\.__init__\(\) ", str(error)) if isinstance(error, TypeError) else None
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    kind = frames[-1].f_globals.get(called[1]) if called and frames else None
    if not isinstance(kind, type) or not kind.__module__.startswith("headgate."):
        return ""
    takes = ", ".join(f"{name}=" for name in inspect.signature(kind).parameters)
    return f"; {kind.__name__} takes {takes}"


def _is_in(folder: Path, file: Path) -> bool:
    """Whether a file is the user's own: a virtual environment below the folder holds what others wrote."""
    return file.is_relative_to(folder) and not {"site-packages", "dist-packages"} & {*file.relative_to(folder).parts}


def _app_in(module: ModuleType, attribute: str | None, target: str) -> App:
    if attribute is not None:
        app = getattr(module, attribute, None)
        if not isinstance(app, App):
            raise Misuse(f"{target}: {attribute} is not an App.")
        return app
    apps = {name: value for name, value in vars(module).items() if isinstance(value, App)}
    if "app" in apps:
        return apps["app"]
    if len(apps) == 1:
        return next(iter(apps.values()))
    what = "no App" if not apps else f"several Apps ({', '.join(apps)}) and none is called app"
    shown_as = shown(module.__file__ or target)
    raise Misuse(f"{shown_as} has {what}. Write `app = App(...)`, or say --app {module.__name__}:NAME.")

"""What Python loads by itself where this folder is on its path."""

from __future__ import annotations

from importlib import import_module

import_module("patient").install()

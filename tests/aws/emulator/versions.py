"""What runs the zips here: this Python's minor, on this machine's architecture."""

from __future__ import annotations

import platform
import sys

MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"
RUNTIME = f"python{MINOR}"
ARCHITECTURE = "arm64" if platform.machine() in ("arm64", "aarch64") else "x86_64"

"""What a test needs: the cases every engine has to pass, HTTP scenarios for any address, and a pytest plugin.

`AppUnderTest`, the type of the fixture `headgate_app`, is loaded when it is first named.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headgate.testing.inprocess import AppUnderTest as AppUnderTest
else:

    def __getattr__(name: str) -> object:
        if name != "AppUnderTest":
            raise AttributeError(f"module 'headgate.testing' has no attribute {name!r}")
        from headgate.testing.inprocess import AppUnderTest

        return AppUnderTest

"""The declaration: pure data, checked when the app loads."""

"""The embedded engine: SQLite and files, one process per state folder."""

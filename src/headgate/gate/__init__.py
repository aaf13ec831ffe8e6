"""The gate: every decision about a message, and no I/O. Engines drive its generators and carry out their effects."""

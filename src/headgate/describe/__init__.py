"""What follows from a declaration alone: documents for people and programs."""

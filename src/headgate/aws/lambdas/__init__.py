"""The entries of our Lambda functions, one module for each duty."""

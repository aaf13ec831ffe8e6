"""The AWS engine's resources, made from a declaration by the CDK, and what is uploaded for them."""

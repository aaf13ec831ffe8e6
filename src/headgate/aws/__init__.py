"""The AWS engine: DynamoDB, S3 and Secrets Manager, driven from Lambda functions."""

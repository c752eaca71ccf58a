"""What operators and sensors share: which errors are worth a retry, how a task waits, and the link to an order."""

"""What operators and sensors share: the retry policy, waiting, and the link to an order."""

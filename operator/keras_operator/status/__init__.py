"""What is said on the KerasModel: pure functions from what was observed to conditions, failures and history."""

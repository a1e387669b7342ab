"""Making a request fit: pure functions from (conversation, policy, counts, model facts) to edits or a refusal."""

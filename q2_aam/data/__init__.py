"""From a table, its sequences and its labels to batches of tensors."""

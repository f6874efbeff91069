"""The paged KV cache: block pool, block tables, prefix cache; and the tensors they describe."""

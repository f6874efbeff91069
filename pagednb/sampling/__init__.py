"""From logits to tokens: processors, penalties, sampler, logprobs."""

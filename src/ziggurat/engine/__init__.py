"""Token ids in, token ids out: the key/value cache, the sampler, continuous batching, beam search."""

"""The two engines: one optimizer step of megatron-core or of DeepSpeed."""

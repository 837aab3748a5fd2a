"""LoRA and related methods: reading their files, applying them to a checkpoint's weights, and undoing that."""

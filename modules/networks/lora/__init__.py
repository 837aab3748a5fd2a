"""LoRA and its kin: what their files hold, what that does to a checkpoint's weights, and the way back."""

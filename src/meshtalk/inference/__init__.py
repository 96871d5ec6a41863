"""Inference with trained models: animation, streaming sessions, direction, editing, takes, latents."""

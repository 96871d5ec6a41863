"""A trained model performs: animation, streaming sessions, direction, editing, takes, latents."""

"""meshtalk: speech in, an animated 3D face out."""

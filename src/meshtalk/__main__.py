"""`python -m meshtalk`, which is how torchrun starts it."""

from meshtalk.cli import main

main()

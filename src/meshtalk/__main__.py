"""`python -m meshtalk`, which is how torchrun starts it."""

from meshtalk.cli.main import main

main()

"""The verbs of the command line that perform and edit, and the options they share."""

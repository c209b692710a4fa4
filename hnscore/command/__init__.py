"""The command line, and scores of files that fit no memory."""

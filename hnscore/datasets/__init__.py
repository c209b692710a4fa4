"""Where do the rows of a pool lie that is kept in many files?"""

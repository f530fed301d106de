"""Does the gain harm existing recipes, and is it worth having there?"""

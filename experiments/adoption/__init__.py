"""Does the gain harm other people's recipes, and is it worth having there?"""

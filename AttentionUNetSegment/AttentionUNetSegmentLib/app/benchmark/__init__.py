"""How long our work takes, side by side with what a user would take instead.

Every contender runs in a process of its own, one after the other, so that its peak memory is its
own and nothing is warm that it did not warm itself.
"""

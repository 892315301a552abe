"""The contract between device and fleet; imports nothing but the standard library.

`messages` is what is said, `codec` its bytes, `limits` its bounds, `topics` where on the link, `claim` how a new
device finds its fleet.
"""

"""The rule engine: pure, on event time, the same code on the device and in the fleet.

`rule` says what a rule is and reads it from a config document, `condition` when a value is bad, `engine` how bad
readings become an alarm and good ones clear it.
"""

"""SHELL. The demo: a broker, a simulator and the detector as child processes, and a view of what they do.

It reaches them only as a user could: by command line, Kafka and HTTP.
"""

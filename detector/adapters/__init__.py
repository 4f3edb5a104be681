"""ADAPTERS. Our members as river estimators, and estimators of river and scikit-learn as members.

Nothing here is imported by the service unless its settings name an estimator that is not ours.
"""

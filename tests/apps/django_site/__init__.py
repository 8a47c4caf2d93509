"""A small Django project: what users run, as opposed to what a test would write by hand.

It keeps its database and its files in the directory that DJANGO_SITE_DIR names; see
django_support.py for how a test makes one.
"""

"""``zoo evaluate``: how well an engine tells forged faces from real ones in labelled images.

    labels -> dataset -> scoring -> metrics -> report

A dataset is read once, whatever the number of engines, and never held in memory whole.
"""

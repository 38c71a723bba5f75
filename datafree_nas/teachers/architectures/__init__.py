"""Families of teachers, one in each file; `teachers.registry` finds all files by itself.

A file has `ARCHITECTURES`, a tuple or a dict of names, and `create(arch, num_classes)`, where 0
classes stand for the published number. Modules have the names that they have in PyTorch.
"""

"""One file a family of teachers; `teachers.registry` finds them all.

A file has `ARCHITECTURES`, whose members or keys are the names, and `build(arch, num_classes)`,
where 0 classes ask for the published number. Modules bear the names that they have in PyTorch.
"""

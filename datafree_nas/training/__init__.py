"""Training a classifier on images in memory: teachers, supernets and students alike."""

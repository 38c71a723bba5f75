"""Training of classifiers: teachers, supernets and students."""

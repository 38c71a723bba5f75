"""Images made from a frozen teacher: DeepInversion's losses, regional update, recursive labels."""

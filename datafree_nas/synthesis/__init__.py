"""Images out of a frozen teacher: DeepInversion's losses, regional update, recursive labels."""

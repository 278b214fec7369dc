"""The paper's comparisons with the small model, on a laptop."""

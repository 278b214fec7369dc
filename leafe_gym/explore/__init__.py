"""Many tasks in one resumable run folder."""

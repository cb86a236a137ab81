"""open_clip's towers, and computing no more of them than is read."""

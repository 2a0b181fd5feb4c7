"""Files and trees by content: hashing, walking, the stat cache, safe opening."""

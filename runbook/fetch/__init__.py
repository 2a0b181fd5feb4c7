"""Data by reference: from where the record says it can be had, checked, into a cache that all bundles share."""

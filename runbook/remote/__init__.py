"""Places elsewhere that hold blobs by their digest: registries, object stores, folders, web servers."""

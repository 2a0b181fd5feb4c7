"""What formats hold, whichever they are: tensors, nested values, and how such are compared.

It is a package of its own, as what deals with arrays needs numpy, which is an extra, as soon as it is imported.
"""

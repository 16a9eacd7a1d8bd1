"""Conversion of PyTorch modules and of other libraries' weight files to gradlab's cells and networks."""

"""What lies outside: PyTorch's recurrent modules and other libraries' weights, in gradlab's terms."""

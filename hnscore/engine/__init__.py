"""What computes: sums over pairs on the CPU, searches on a GPU, and what runs beside them."""

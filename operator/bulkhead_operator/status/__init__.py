"""What people and programs read: outcomes become conditions here and nowhere else."""

"""How things are measured, apart from what is: rounds, verdicts, processes, programs, report."""

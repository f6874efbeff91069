"""What people decide about labels, kept and put back into the frame."""

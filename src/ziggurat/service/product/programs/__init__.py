"""What programs use beside answers: feedback, files, fine-tuning jobs."""

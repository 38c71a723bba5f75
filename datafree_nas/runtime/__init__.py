"""What every stage needs from the machine it runs on."""

"""What keeps failures of one part from spreading; also of use to plugins for their own calls."""
